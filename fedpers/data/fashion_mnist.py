"""Fashion-MNIST: 70,000 grey images of clothes, 28x28, 10 classes.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017,
https://arxiv.org/abs/1708.07747.
"""

import gzip
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import FashionMNIST
from torchvision.datasets.mnist import read_image_file, read_label_file

from fedpers.data import files
from fedpers.data.images import Images
from fedpers.errors import UserError

_PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_NAMES = tuple(f"{part}-ubyte" for part in _PARTS)
_FORMS = (
    "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]",
    "the same four files, directly",
)


def fashion_mnist(root: str, *, download: bool, mean: tuple[float, ...], std: tuple[float, ...]) -> Images:
    """Load train and test images from IDX files, compressed or not.

    Args:
        root: Folder that holds the files, in torchvision's layout or directly.
        download: Let torchvision download them when they are missing.
        mean: Mean of the one channel.
        std: Standard deviation of the one channel.

    Raises:
        UserError: files are missing or damaged.
    """
    folder = Path(root).expanduser()
    found = _find(folder)
    if not found and download:
        files.download("fashion_mnist", folder, _FORMS, lambda: FashionMNIST(str(folder), download=True))
        found = _find(folder)
    if not found:
        raise files.missing("fashion_mnist", folder, _FORMS)
    with tempfile.TemporaryDirectory() as scratch:
        parts = [_read(found[name], Path(scratch) / name) for name in _NAMES]
    pixels = torch.cat(parts[0::2]).numpy()[..., None]
    labels = torch.cat(parts[1::2]).numpy().astype(np.int64)
    return Images("fashion_mnist", pixels, labels, 10, mean, std)


def _find(root: Path) -> dict[str, Path]:
    """Return the four files by name, from the first folder that has all of them."""
    for folder in (root / "FashionMNIST" / "raw", root):
        found = {}
        for name in _NAMES:
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    found[name] = path
                    break
        if len(found) == len(_NAMES):
            return found
    return {}


def _read(source: Path, plain: Path) -> torch.Tensor:
    """Read one file by way of `plain`, where it is decompressed to."""
    _place(source, plain)
    read = read_image_file if "images" in source.name else read_label_file
    try:
        values: torch.Tensor = read(str(plain))
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError, OSError) as error:
        raise UserError(f"{source} is no sound IDX file ({error}). Remove it and fetch it again") from error
    return values


def _place(source: Path, target: Path) -> None:
    """Put a file where torchvision can read it, decompressed."""
    if source.suffix != ".gz":
        target.symlink_to(source.resolve())
        return
    try:
        with gzip.open(source) as compressed, target.open("wb") as plain:
            shutil.copyfileobj(compressed, plain)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{source} is damaged ({error}). Remove it and fetch it again") from error
