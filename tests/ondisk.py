"""Writes small datasets in the published formats; every function returns what a loader must find in them.

Bytes are laid out here by hand, so that a loader is never compared with itself. Also reads `configs/`.
"""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

Written = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Pixels (N, H, W, C) and labels (N,), training set first, as loaders return them."""

CIFAR10_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
FASHION_MNIST_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


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
    parts = []
    for number, size in enumerate((num_train, num_test)):
        pixels, labels = _images(size, (28, 28, 1), 10, seed + number)
        for name, values in zip(FASHION_MNIST_NAMES[2 * number :], (pixels[..., 0], labels), strict=False):
            content = idx(values)
            path = folder / (f"{name}.gz" if compressed else name)
            _write(path, gzip.compress(content) if compressed else content)
        parts.append((pixels, labels))
    return _join(parts)


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


def _images(size: int, shape: tuple[int, int, int], num_classes: int, seed: int) -> Written:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (size, *shape), dtype=np.uint8)
    return pixels, generator.integers(0, num_classes, size)


def _join(parts: list[Written]) -> Written:
    return np.concatenate([pixels for pixels, _ in parts]), np.concatenate([labels for _, labels in parts])


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
