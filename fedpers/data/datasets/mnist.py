"""MNIST, Fashion-MNIST and EMNIST: grey images, 28x28, in IDX files.

- MNIST: 70,000 digits, 10 classes. LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
  Recognition", Proceedings of the IEEE, 1998.
- Fashion-MNIST: 70,000 clothes, 10 classes. Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
  Benchmarking Machine Learning Algorithms", 2017, https://arxiv.org/abs/1708.07747.
- EMNIST: up to 814,255 digits and letters in six selections. Cohen, Afshar, Tapson and van Schaik, "EMNIST: an
  Extension of MNIST to Handwritten Letters", 2017, https://arxiv.org/abs/1702.05373. Its images lie on their side in
  the files and are turned upright here; the labels of its letters start at 1 in the files and at 0 here.
"""

import gzip
import shutil
import tempfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file

from fedpers.data import files
from fedpers.data.images import Images
from fedpers.errors import UserError, unknown_name

_EMNIST_CLASSES = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}


@dataclass(frozen=True)
class _Form:
    """The published files of one dataset; `{}` in their names stands for images-idx3 and labels-idx1."""

    name: str
    torchvision: Any
    parts: tuple[str, str] = ("train-{}-ubyte", "t10k-{}-ubyte")
    num_classes: int = 10

    @property
    def names(self) -> tuple[str, ...]:
        """Images and labels of the training set, then those of the test set."""
        return tuple(part.format(kind) for part in self.parts for kind in ("images-idx3", "labels-idx1"))

    @property
    def folder(self) -> Path:
        """Where torchvision puts the files."""
        return Path(self.torchvision.__name__) / "raw"

    @property
    def accepted(self) -> tuple[str, ...]:
        train, test = self.parts
        names = f"{{{train.split('{}')[0]},{test.split('{}')[0]}}}{{images-idx3,labels-idx1}}-ubyte[.gz]"
        return f"{self.folder}/{names}", f"gzip/{names}", f"{names}, directly"


def mnist(root: str, *, download: bool, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Images:
    """Load MNIST; see `_load`."""
    return _load(_Form("mnist", datasets.MNIST), root, download, mean, std)


def fashion_mnist(
    root: str, *, download: bool, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Images:
    """Load Fashion-MNIST; see `_load`."""
    return _load(_Form("fashion_mnist", datasets.FashionMNIST), root, download, mean, std)


def emnist(
    root: str, *, selection: str, download: bool, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Images:
    """Load one of EMNIST's selections (`byclass`, `bymerge`, `balanced`, `letters`, `digits`, `mnist`); see `_load`."""
    if selection not in _EMNIST_CLASSES:
        raise unknown_name("dataset.selection", selection, _EMNIST_CLASSES)
    parts = (f"emnist-{selection}-train-{{}}-ubyte", f"emnist-{selection}-test-{{}}-ubyte")
    form = _Form(f"emnist_{selection}", datasets.EMNIST, parts, _EMNIST_CLASSES[selection])
    return _load(form, root, download, mean, std, first_label=int(selection == "letters"), lying=True)


def _load(
    form: _Form,
    root: str,
    download: bool,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    first_label: int = 0,
    lying: bool = False,
) -> Images:
    """Load train and test images from IDX files, compressed or not.

    Args:
        form: Which dataset.
        root: Folder that holds the files, in torchvision's layout or directly.
        download: Let torchvision download them when they are missing.
        mean: Mean of the one channel; None to measure it.
        std: Standard deviation of the one channel; None to measure it.
        first_label: The files' smallest label.
        lying: The files hold images with rows and columns exchanged.

    Raises:
        UserError: files are missing or damaged.
    """
    folder = Path(root).expanduser()
    found = _find(form, folder)
    if not found and download:
        more = {"split": form.name.removeprefix("emnist_")} if form.torchvision is datasets.EMNIST else {}
        files.download(form.name, folder, form.accepted, partial(form.torchvision, str(folder), download=True, **more))
        found = _find(form, folder)
    if not found:
        raise files.missing(form.name, folder, form.accepted)
    with tempfile.TemporaryDirectory() as scratch:
        parts = [_read(found[name], Path(scratch) / name) for name in form.names]
    for name, labels in zip(form.names[1::2], parts[1::2], strict=True):
        files.check_labels(labels.numpy(), first_label, first_label + form.num_classes - 1, str(found[name]))
    pixels = torch.cat(parts[0::2]).numpy()
    if lying:
        pixels = np.ascontiguousarray(pixels.transpose(0, 2, 1))
    numbers = torch.cat(parts[1::2]).numpy().astype(np.int64) - first_label
    return Images(form.name, pixels[..., None], numbers, form.num_classes, mean, std)


def _find(form: _Form, root: Path) -> dict[str, Path]:
    """Return the four files by name, from the first folder that has all of them."""
    for folder in (root / form.folder, root / "gzip", root):
        found = {}
        for name in form.names:
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    found[name] = path
                    break
        if len(found) == len(form.names):
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
