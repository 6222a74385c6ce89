"""Writes small datasets in the published formats; every function returns what a loader must find in them.

Bytes are laid out here by hand or by another library than the loader's, so that it is never compared with itself.
Also reads `configs/`.
"""

import gzip
import hashlib
import io
import json
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from fedpers.config.build import build
from fedpers.data.images import Images

Written = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Pixels (N, H, W, C) and labels (N,), training set first, as loaders return them."""

CIFAR10_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
FASHION_MNIST_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CINIC10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def read_spec(group: str, name: str) -> dict[str, Any]:
    """Return a group's choice as it stands in `configs/`."""
    path = Path(__file__).parents[1] / "configs" / group / f"{name}.yaml"
    return yaml.safe_load(path.read_text())


def write_cifar10_binary(root: Path, num_per_batch: int = 3, seed: int = 0) -> Written:
    """Write `cifar-10-batches-bin/`: records of 1 label byte and 3072 bytes, all red, all green, all blue."""
    parts = []
    for number, name in enumerate((*CIFAR10_TRAIN, "test_batch")):
        pixels, labels = _images(num_per_batch, (32, 32, 3), 10, seed + number)
        records = [bytes([label]) + planar(image) for image, label in zip(pixels, labels, strict=True)]
        _write(root / "cifar-10-batches-bin" / f"{name}.bin", b"".join(records))
        parts.append((pixels, labels))
    return _join(parts)


def write_cifar100_binary(root: Path, num_train: int = 6, num_test: int = 4, seed: int = 0) -> Written:
    """Write `cifar-100-binary/`: as CIFAR-10, but 2 label bytes: coarse (0 ... 19), then fine (0 ... 99)."""
    parts = []
    for number, (name, size) in enumerate((("train", num_train), ("test", num_test))):
        pixels, labels = _images(size, (32, 32, 3), 100, seed + number)
        coarse = np.random.default_rng(seed + 100).integers(0, 20, size)
        records = [bytes([c, f]) + planar(i) for c, f, i in zip(coarse, labels, pixels, strict=True)]
        _write(root / "cifar-100-binary" / f"{name}.bin", b"".join(records))
        parts.append((pixels, labels))
    return _join(parts)


def write_cifar10_python(root: Path, num_per_batch: int = 3, seed: int = 0) -> tuple[Written, dict[str, str]]:
    """Write `cifar-10-batches-py/`, which consists of pickles; also returns the MD5 of each file."""
    parts, checksums = [], {}
    for number, name in enumerate((*CIFAR10_TRAIN, "test_batch", "batches.meta")):
        if name == "batches.meta":
            entry = {"label_names": [str(label) for label in range(10)]}
        else:
            pixels, labels = _images(num_per_batch, (32, 32, 3), 10, seed + number)
            rows = np.stack([np.frombuffer(planar(image), np.uint8) for image in pixels])
            entry = {"data": rows, "labels": labels.tolist()}
            parts.append((pixels, labels))
        content = pickle.dumps(entry)
        _write(root / "cifar-10-batches-py" / name, content)
        checksums[name] = hashlib.md5(content).hexdigest()
    return _join(parts), checksums


def write_fashion_mnist(
    root: Path,
    num_train: int = 6,
    num_test: int = 4,
    compressed: bool = False,
    layout: str = "torchvision",
    seed: int = 0,
) -> Written:
    """Write four IDX files.

    Args:
        root: What `dataset.root` will name.
        num_train: Images in the training set.
        num_test: Images in the test set.
        compressed: Write `.gz` files, as they are published.
        layout: "torchvision" (`FashionMNIST/raw/`) or "direct" (in `root` itself).
        seed: Source of pixels and labels.
    """
    folder = fashion_mnist_folder(root, layout)
    return write_idx(folder, ("train-{}-ubyte", "t10k-{}-ubyte"), 10, num_train, num_test, compressed, seed)


def write_idx(
    folder: Path,
    parts: tuple[str, str],
    num_classes: int,
    num_train: int = 6,
    num_test: int = 4,
    compressed: bool = False,
    seed: int = 0,
    first_label: int = 0,
) -> Written:
    """Write images and labels of two parts; `{}` in their names stands for images-idx3 and labels-idx1."""
    written = []
    for number, (part, size) in enumerate(zip(parts, (num_train, num_test), strict=True)):
        pixels, labels = _images(size, (28, 28, 1), num_classes, seed + number)
        labels = labels + first_label
        for kind, values in (("images-idx3", pixels[..., 0]), ("labels-idx1", labels)):
            content, path = idx(values), folder / part.format(kind)
            _write(
                path.with_name(f"{path.name}.gz") if compressed else path,
                gzip.compress(content) if compressed else content,
            )
        written.append((pixels, labels))
    return _join(written)


def fashion_mnist_folder(root: Path, layout: str) -> Path:
    """Return the folder that holds the IDX files in a layout."""
    return root / "FashionMNIST" / "raw" if layout == "torchvision" else root


def idx(values: NDArray[np.generic]) -> bytes:
    """Return an IDX file: two zeros, type 8 (unsigned byte), number of axes, big-endian lengths, values."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


def planar(image: NDArray[np.uint8]) -> bytes:
    """Return an image (H, W, 3) as CIFAR stores it: the red values row by row, then green, then blue."""
    return b"".join(image[:, :, channel].tobytes() for channel in range(3))


def write_svhn(root: Path, parts: tuple[str, ...] = ("train", "test"), size: int = 5) -> Written:
    """Write MATLAB files: X (32, 32, 3, N), y (N, 1), where a zero has the label 10."""
    written = []
    root.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts):
        pixels, labels = _images(size, (32, 32, 3), 10, number)
        stored = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(root / f"{part}_32x32.mat", {"X": pixels.transpose(1, 2, 3, 0), "y": stored})
        written.append((pixels, labels))
    return _join(written)


def write_image_folder(
    root: Path, parts: Sequence[str], classes: Sequence[str], each: int = 2, side: int = 32
) -> Written:
    """Write ROOT/PART/CLASS/NUMBER.png, in colour."""
    written = []
    for number, part in enumerate(parts):
        pixels, _ = _images(each * len(classes), (side, side, 3), 1, number)
        labels = np.repeat(np.arange(len(classes)), each)
        for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            _write(root / part / classes[label] / f"{index:04}.png", png(image))
        written.append((pixels, labels))
    return _join(written)


def write_leaf(root: Path, writers: dict[str, int], side: int = 28, seed: int = 0) -> Written:
    """Write LEAF's JSON, some writers a file: pixels row by row in 0 ... 1, background 1."""
    pixels, labels = _images(sum(writers.values()), (side, side, 1), 62, seed)
    ends = np.cumsum(list(writers.values()))
    users = {
        name: {"x": (pixels[end - n : end].reshape(n, -1) / 255).tolist(), "y": labels[end - n : end].tolist()}
        for (name, n), end in zip(writers.items(), ends, strict=True)
    }
    names = list(users)
    for number, start in enumerate(range(0, len(names), 2)):
        own = names[start : start + 2]
        content = {"users": own, "num_samples": [writers[n] for n in own], "user_data": {n: users[n] for n in own}}
        _write(root / f"all_data_{number}.json", json.dumps(content).encode())
    return pixels, labels


def write_hub(
    folder: Path, columns: dict[str, Any], features: dict[str, Any], parts: int = 1, split: str = "train"
) -> None:
    """Write Parquet files as the Hugging Face hub has them, by its own library."""
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(parts):
        own = table.shard(parts, number, contiguous=True)
        own.to_parquet(str(folder / f"{split}-{number:05}-of-{parts:05}.parquet"))


def write_femnist_hub(folder: Path, writers: dict[str, int], parts: int = 1, seed: int = 0) -> Written:
    """Write `flwrlabs/femnist`: image, writer_id, hsf_id, character."""
    size = sum(writers.values())
    pixels, labels = _images(size, (28, 28, 1), 62, seed)
    columns = {
        "image": [{"bytes": png(image[..., 0]), "path": None} for image in pixels],
        "writer_id": [name for name, n in writers.items() for _ in range(n)],
        "hsf_id": [0] * size,
        "character": labels.tolist(),
    }
    features = {
        "image": datasets.Image(),
        "writer_id": datasets.Value("string"),
        "hsf_id": datasets.Value("int64"),
        "character": datasets.ClassLabel(names=list(CHARACTERS)),
    }
    write_hub(folder, columns, features, parts)
    return pixels, labels


def write_cinic10_hub(folder: Path, each: int = 10) -> Written:
    """Write `flwrlabs/cinic10`: image, label, in three splits."""
    written = []
    for number, split in enumerate(("test", "train", "validation")):  # as their names sort
        pixels, labels = _images(each, (32, 32, 3), 10, number)
        columns = {"image": [{"bytes": png(i), "path": None} for i in pixels], "label": labels.tolist()}
        features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CINIC10_CLASSES))}
        write_hub(folder, columns, features, split=split)
        written.append((pixels, labels))
    return _join(written)


def png(image: NDArray[np.uint8]) -> bytes:
    """Return an image (H, W) or (H, W, 3) as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def load(name: str, root: Path, download: bool = False, **changes: Any) -> Images:
    """Load a dataset as its YAML has it, but for its published number of images."""
    spec = read_spec("dataset", name)
    small = {"complete": False} if "complete" in spec else {}
    spec = spec | {"root": str(root)} | small | changes
    return build(spec | {"download": True} if download else spec, "dataset")


def _images(size: int, shape: tuple[int, int, int], num_classes: int, seed: int) -> Written:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (size, *shape), dtype=np.uint8)
    return pixels, generator.integers(0, num_classes, size)


def _join(parts: list[Written]) -> Written:
    return np.concatenate([pixels for pixels, _ in parts]), np.concatenate([labels for _, labels in parts])


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
