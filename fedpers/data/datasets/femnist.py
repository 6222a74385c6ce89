"""FEMNIST: handwritten digits and letters by some 3,550 writers, 28x28, grey, 62 classes; every writer is a client.

Caldas et al., "LEAF: a Benchmark for Federated Settings", 2018, https://arxiv.org/abs/1812.01097, made of EMNIST's
sources. Two forms are read: LEAF's own JSON files, and the Parquet files of `flwrlabs/femnist` on the Hugging Face hub.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpers.data import files, parquet
from fedpers.data.datasets import hugging_face
from fedpers.data.gathering import Gathering
from fedpers.data.images import Images
from fedpers.errors import UserError

NUM_CLASSES = 62
_SIDE = 28
_HUB = "flwrlabs/femnist"
_LEAF = ("all_data/*.json", "train/*.json and test/*.json")


def femnist(root: str, *, download: bool, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Images:
    """Load all writers' characters.

    Args:
        root: Folder that holds LEAF's JSON files (its folder `data`, or one above it named `femnist`) or Parquet files.
        download: Fetch the Parquet files from the Hugging Face hub when there are none.
        mean: Mean of the one channel; None to measure it.
        std: Standard deviation of the one channel; None to measure it.

    Raises:
        UserError: files are missing or damaged, or a writer is without samples.
    """
    folder = Path(root).expanduser()
    gathering = Gathering("femnist", 1, (_SIDE, _SIDE))
    leaf = _leaf_files(folder)
    if leaf:
        labels, owners = _read_leaf(leaf, gathering)
        return Images("femnist", gathering.pixels(), labels, NUM_CLASSES, mean, std, owners)
    others = (*_LEAF, *(f"femnist/{form}" for form in _LEAF))
    found = hugging_face.locate("femnist", folder, _HUB, download=download, others=others)
    columns = parquet.Columns("image", "character", "writer_id", f"Accepted: the columns of {_HUB}")
    table = parquet.read(found, columns, gathering, NUM_CLASSES)
    return Images("femnist", gathering.pixels(), table.labels, NUM_CLASSES, mean, std, table.owners)


def _leaf_files(root: Path) -> list[Path]:
    """Return LEAF's JSON files: those of all data, or those it has divided into train and test."""
    for folder in (root, root / "data", root / "femnist", root / "femnist" / "data"):
        found = sorted((folder / "all_data").glob("*.json"))
        if not found and (folder / "train").is_dir():
            found = [path for part in ("train", "test") for path in sorted((folder / part).glob("*.json"))]
        if found:
            return found
    return []


def _read_leaf(paths: list[Path], gathering: Gathering) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add all images to a gathering; return labels and owners, the writers in the order of their names."""
    labels: list[NDArray[np.int64]] = []
    writers: list[str] = []
    for path in paths:
        for writer, pixels, characters in _writers(path):
            gathering.add_all(pixels, f"{path}, writer {writer!r}")
            labels.append(characters)
            writers.append(writer)
    numbers = np.unique(writers, return_inverse=True)[1]
    return np.concatenate(labels), np.repeat(numbers, [len(part) for part in labels]).astype(np.int64)


def _writers(path: Path) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int64]]]:
    """Read the writers of one file: name, images (n, 28, 28, 1), labels (n,)."""
    try:
        content = json.loads(path.read_bytes(), object_hook=_compact)
        users: list[str] = content["users"]
        data: dict[str, Any] = content["user_data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged or none of LEAF's files ({type(error).__name__}: {error}). Accepted: JSON with "
            "`users` and `user_data`. Remove it and make it again with LEAF's preprocess.sh"
        ) from error
    for writer in users:
        found = data.get(writer)
        if not isinstance(found, _Samples) or not len(found.labels):
            raise UserError(
                f"{path}: writer {writer!r} is listed in `users` and has no samples in `user_data`. Remove the name "
                "or make the file again with LEAF's preprocess.sh"
            )
        if found.pixels.shape != (len(found.labels), _SIDE * _SIDE):
            raise UserError(
                f"{path}: writer {writer!r} has {len(found.labels)} labels and images of shape {found.pixels.shape}. "
                f"Accepted: as many rows of {_SIDE * _SIDE} pixels as labels"
            )
        files.check_labels(found.labels, 0, NUM_CLASSES - 1, f"{path}, writer {writer!r}")
        yield writer, found.pixels.reshape(-1, _SIDE, _SIDE, 1), found.labels


class _Samples:
    """One writer's samples, made into arrays while the file is being parsed: numbers in JSON take much memory."""

    def __init__(self, x: Any, y: Any) -> None:
        values = np.asarray(x, np.float32)
        if values.size and not 0 <= values.min() <= values.max() <= 1:
            raise ValueError(f"pixels from {values.min()} to {values.max()}, where LEAF has 0 to 1")
        self.pixels = np.rint(values * 255).astype(np.uint8)
        numbers = np.asarray(y)
        self.labels = numbers.astype(np.int64)
        if not np.array_equal(self.labels, numbers):
            raise ValueError("labels that are no whole numbers")


def _compact(found: dict[str, Any]) -> Any:
    return _Samples(found["x"], found["y"]) if {"x", "y"} <= found.keys() else found
