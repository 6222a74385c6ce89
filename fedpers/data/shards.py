"""Prepared data: every client's samples side by side on disk, memory-mapped, with a manifest.

A prepared folder is named by a hash of all that determines it, and appears at once, complete, under its name:

    pixels.npy    (N, H, W, C) uint8, ordered by client and, within a client, train, validation, test
    labels.npy    (N,) int64, likewise
    index.npy     (N,) int64, each sample's position in the dataset (official train set, then test set)
    bounds.npy    (clients, 4) int64: where a client's train, validation and test parts begin, and its end
    clients.parquet each client's sizes and label histogram
    manifest.json what it is made of
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedpers import seeds
from fedpers.build import build
from fedpers.config import Config
from fedpers.data.images import Images
from fedpers.data.partition import Indices, Partition
from fedpers.device import CPU, fits, to_device
from fedpers.errors import UserError
from fedpers.training import Split

FORMAT = 2
CLIENTS = "clients.parquet"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ClientData:
    """One client's samples; each split is read from disk and normalized when it is first asked for.

    Args:
        pixels: (n, H, W, C) in uint8: all the client's samples.
        labels: (n,) in int64, on the CPU.
        ends: Where train, validation and test end among them.
        mean: Mean of each channel, in units of pixel values.
        std: Standard deviation of each channel, likewise.
        num_classes: Number of classes in the whole dataset.
        device: Where the splits go; the pixels are there already, or on the CPU.
    """

    pixels: Tensor
    labels: Tensor
    ends: tuple[int, int, int]
    mean: Tensor
    std: Tensor
    num_classes: int
    device: torch.device = CPU

    @cached_property
    def train(self) -> Split:
        """The samples that the client may train on."""
        return self._split(0, self.ends[0])

    @cached_property
    def val(self) -> Split:
        """The samples that rounds and hyper-parameters are chosen on; may be empty."""
        return self._split(self.ends[0], self.ends[1])

    @cached_property
    def test(self) -> Split:
        """The samples that results are reported on."""
        return self._split(self.ends[1], self.ends[2])

    def _split(self, start: int, end: int) -> Split:
        pixels = to_device(self.pixels[start:end], self.device).to(torch.float32)
        mean, std = (to_device(values, self.device) for values in (self.mean, self.std))
        labels = to_device(self.labels[start:end].clone(), self.device)
        return Split(pixels.sub_(mean).div_(std).permute(0, 3, 1, 2), labels)


class Shards:
    """A prepared folder, opened without reading the images."""

    def __init__(self, folder: Path) -> None:
        """Map the arrays into memory."""
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        self._pixels = _map(folder / "pixels.npy")
        self._labels = _map(folder / "labels.npy")
        self._bounds = np.load(folder / "bounds.npy")
        self._resident: dict[str, Tensor] = {}

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Samples of each client, all splits together: (clients,)."""
        sizes: NDArray[np.int64] = self._bounds[:, -1] - self._bounds[:, 0]
        return sizes

    @property
    def num_clients(self) -> int:
        """Number of clients."""
        return len(self._bounds)

    @property
    def num_classes(self) -> int:
        """Number of classes in the whole dataset."""
        return int(self.manifest["num_classes"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image as a model sees it: channels, height, width."""
        channels, height, width = self.manifest["shape"]
        return channels, height, width

    def client(self, number: int, device: torch.device = CPU) -> ClientData:
        """Return one client's samples, for use on a device.

        An accelerator keeps the images of all clients, in uint8, if they take a small part of its memory; otherwise
        each client's are copied when they are asked for.
        """
        start, *ends = (int(bound) for bound in self._bounds[number])
        mean, std = self._scale
        return ClientData(
            pixels=self._pixels_on(device)[start : ends[-1]],
            labels=self._labels[start : ends[-1]],
            ends=(ends[0] - start, ends[1] - start, ends[2] - start),
            mean=mean,
            std=std,
            num_classes=self.num_classes,
            device=device,
        )

    def _pixels_on(self, device: torch.device) -> Tensor:
        """Return all pixels: those on the accelerator if they may stay there, those of the file otherwise."""
        if device == CPU:
            return self._pixels
        if device.type not in self._resident:
            stay = fits(self._pixels.nbytes, device)
            self._resident[device.type] = self._pixels.to(device) if stay else self._pixels
        return self._resident[device.type]

    @cached_property
    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, in units of pixel values."""
        mean, std = (torch.tensor(self.manifest[key], dtype=torch.float32) * 255 for key in ("mean", "std"))
        return mean, std


def _map(path: Path) -> Tensor:
    """Open an array without reading it; what is written to the tensor would stay in this process."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def prepare(config: Config) -> Shards:
    """Open the prepared data of a configuration, after making it if this machine has not got it yet.

    Raises:
        UserError: the dataset is missing or damaged, the partition is impossible, or the cache cannot be written.
    """
    images: Images = build(config.dataset, "dataset", plugins=config.plugins)
    partition: Partition = build(config.partition, "partition", plugins=config.plugins)
    content = {
        "format": FORMAT,
        "dataset": images.name,
        "dataset_sha256": images.sha256(),
        "mean": images.mean,
        "std": images.std,
        "partition": config.partition,
        "splits": config.splits,
        "seed": config.seed,
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
    cache = _cache_folder(config)
    folder = cache / f"{images.name}-{key}"
    if not folder.is_dir():
        assignment = assign(images.labels, partition, config.splits, config.seed)
        _write(folder, images, assignment, content)
    return Shards(folder)


def assign(
    labels: Indices, partition: Partition, splits: list[float], seed: int
) -> list[tuple[Indices, Indices, Indices]]:
    """Return every client's train, validation and test indices: disjoint, and none empty that has a share.

    Raises:
        UserError: a client would have nothing to train on or to be scored on.
    """
    clients = []
    for client, share in enumerate(partition.assign(labels, seed)):
        order = seeds.numpy_generator(seed, "splits", client=client).permutation(share)
        num_test = max(1, round(splits[2] * len(order)))
        num_val = max(1, round(splits[1] * len(order))) if splits[1] > 0 else 0
        num_train = len(order) - num_test - num_val
        if num_train < 1:
            raise UserError(
                f"client {client} holds {len(order)} samples, too few for splits={splits}. "
                "Accepted: a larger partition.min_samples or a larger share for training"
            )
        train, val, test = np.split(order, [num_train, num_train + num_val])
        clients.append((train, val, test))
    return clients


def assignment_sha256(assignment: list[tuple[Indices, Indices, Indices]]) -> str:
    """Return a hash of who holds which sample in which split, the same on every machine."""
    digest = hashlib.sha256()
    for client in assignment:
        for part in client:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part.astype("<i8").data)
    return digest.hexdigest()


def _manifest(
    images: Images, assignment: list[tuple[Indices, Indices, Indices]], content: dict[str, Any]
) -> dict[str, Any]:
    return {
        **content,
        "assignment_sha256": assignment_sha256(assignment),
        "num_classes": images.num_classes,
        "shape": images.shape,
        "num_clients": len(assignment),
    }


def _clients(images: Images, assignment: list[tuple[Indices, Indices, Indices]]) -> pa.Table:
    """Return one row for each client: its number, its samples in each split, its samples of each class."""
    histogram = [np.bincount(images.labels[np.concatenate(p)], minlength=images.num_classes) for p in assignment]
    sizes = {split: [len(parts[i]) for parts in assignment] for i, split in enumerate(SPLITS)}
    labels = pa.array(histogram, pa.list_(pa.int64()))
    return pa.table({"client": list(range(len(assignment))), **sizes, "label_histogram": labels})


def _cache_folder(config: Config) -> Path:
    named = config.cache or os.environ.get("FEDPERS_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "fedpers"


def _write(
    folder: Path, images: Images, assignment: list[tuple[Indices, Indices, Indices]], content: dict[str, Any]
) -> None:
    """Write a prepared folder under a temporary name, then rename it."""
    index = np.concatenate([part for parts in assignment for part in parts])
    sizes = np.array([[len(part) for part in parts] for parts in assignment])
    ends = sizes.cumsum().reshape(sizes.shape)
    bounds = np.column_stack([np.concatenate([[0], ends[:-1, -1]]), ends])
    scratch = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".preparing-", dir=folder.parent))
        np.save(scratch / "pixels.npy", images.pixels[index])
        np.save(scratch / "labels.npy", images.labels[index])
        np.save(scratch / "index.npy", index)
        np.save(scratch / "bounds.npy", bounds)
        pq.write_table(_clients(images, assignment), scratch / CLIENTS)
        manifest = _manifest(images, assignment, content)
        (scratch / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
        scratch.chmod(0o755)
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another run was faster, with the same content
                raise
    except OSError as error:
        raise UserError(
            f"prepared data could not be written to {folder.parent} ({error.strerror or error}). "
            "Name a folder with room and write permission: cache=DIR"
        ) from error
    finally:
        if scratch is not None and scratch.is_dir():
            shutil.rmtree(scratch)
