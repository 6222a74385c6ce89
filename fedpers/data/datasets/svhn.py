"""SVHN: 99,289 colour images of house numbers' digits, 32x32, 10 classes, and 531,131 easier ones.

Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", NIPS workshop, 2011. In the files
a zero has the label 10; here it is 0.
"""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from torchvision.datasets import SVHN

from fedpers.data import files
from fedpers.data.images import Images
from fedpers.errors import UserError


def svhn(
    root: str, *, extra: bool, download: bool, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Images:
    """Load the cropped digits.

    Args:
        root: Folder that holds the MATLAB files, itself or in `svhn`.
        extra: Load the easier images too.
        download: Let torchvision download the files when they are missing.
        mean: Mean of each channel; None to measure it.
        std: Standard deviation of each channel; None to measure it.

    Raises:
        UserError: files are missing or damaged.
    """
    folder = Path(root).expanduser()
    parts = ("train", "test", *(("extra",) if extra else ()))
    names = [f"{part}_32x32.mat" for part in parts]
    forms = [f"svhn/{{{','.join(names)}}}", f"{{{','.join(names)}}}"]
    found = _find(folder, names)
    if not found and download:
        for part in parts:
            files.download("svhn", folder, forms, partial(SVHN, str(folder / "svhn"), part, download=True))
        found = _find(folder, names)
    if not found:
        raise files.missing("svhn", folder, forms)
    read = [_read(path) for path in found]
    pixels, labels = (np.concatenate(values) for values in zip(*read, strict=True))
    return Images("svhn", pixels, labels, 10, mean, std)


def _find(root: Path, names: list[str]) -> list[Path]:
    for folder in (root / "svhn", root):
        found = [folder / name for name in names]
        if all(path.is_file() for path in found):
            return found
    return []


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        content = loadmat(path, variable_names=["X", "y"])
        images, labels = np.asarray(content["X"]), np.asarray(content["y"]).ravel()
        if images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3):
            raise ValueError(f"images of type {images.dtype} and shape {images.shape}, not (32, 32, 3, N) bytes")
        if not np.array_equal(labels, labels.astype(np.int64)):
            raise ValueError("labels that are no whole numbers")
    except Exception as error:  # scipy raises whatever the damage leads to
        raise UserError(
            f"{path} is damaged or none of SVHN's files ({type(error).__name__}: {error}). Remove it and fetch it again"
        ) from error
    labels = labels.astype(np.int64)
    files.check_labels(labels, 1, 10, str(path))
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels % 10
