"""Any folder of images with a folder for each class, as `torchvision.datasets.ImageFolder` has it."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from fedpers.data import files
from fedpers.data.gathering import Gathering
from fedpers.data.images import Images
from fedpers.errors import UserError

log = logging.getLogger(__name__)

_NO_PICTURES = ("EPS", "HDF5", "MPEG", "PDF", "WMF", "GRIB", "BUFR")
"""What Pillow knows by name and cannot draw by itself."""


def image_folder(
    root: str,
    *,
    parts: tuple[str, ...],
    channels: int | None,
    size: tuple[int, ...] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> Images:
    """Load ROOT/PART/CLASS/IMAGE of every part, or ROOT/CLASS/IMAGE; the classes are numbered in their names' order.

    Args:
        root: The folder.
        parts: Folders that hold the same classes each, e.g. `[train, test]`; none for the classes themselves.
        channels: 1 or 3: what images are converted to; None: as they are.
        size: Height and width that images are scaled to; None: as they are.
        mean: Mean of each channel; None to measure it.
        std: Standard deviation of each channel; None to measure it.

    Raises:
        UserError: a folder is missing or has no classes, parts differ in classes, or an image is damaged.
    """
    folder = Path(root).expanduser()
    gathering = Gathering(
        folder.resolve().name, channels, size, resize=True, hint="dataset.size=[HEIGHT,WIDTH] makes them equal"
    )
    return read(folder.resolve().name, [folder / part for part in parts] or [folder], gathering, mean, std)[0]


def read(
    name: str,
    folders: Sequence[Path],
    gathering: Gathering,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> tuple[Images, list[str]]:
    """Load the images of several folders with the same classes; return them and the names of the classes.

    What is hidden, and what is no image by its name, is left out; a line says how many files that were.
    """
    labels: list[int] = []
    classes: list[str] = []
    skipped: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise files.missing(name, folder, ("CLASS/IMAGE.png", "CLASS/IMAGE.jpg"), downloadable=False)
        here = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not here:
            raise _no_images(folder, "it holds no folder")
        if classes and here != classes:
            odd = sorted(set(classes) ^ set(here))
            raise UserError(
                f"{folders[0]} and {folder} differ in classes: {', '.join(odd)}. Accepted: the same classes"
            )
        classes = here
        skipped += [path for path in folder.iterdir() if path.is_file()]
        for label, kind in enumerate(classes):
            found, others = _images_in(folder / kind)
            if not found:
                raise _no_images(folder, f"{kind} holds no image")
            skipped += others
            for path in found:
                gathering.add(path, str(path))
            labels += [label] * len(found)
    if skipped:
        names = ", ".join(sorted({path.name for path in skipped})[:3])
        log.warning("%d files were skipped, hidden or no images by their names: %s, ...", len(skipped), names)
    pixels, numbers = gathering.pixels(), np.array(labels, np.int64)
    return Images(name, pixels, numbers, len(classes), mean, std, classes=tuple(classes)), classes


def _no_images(folder: Path, problem: str) -> UserError:
    return UserError(
        f"{folder} is no folder of images ({problem}). Accepted: a folder for each class, with images in each"
    )


def _images_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the images below a folder, in order, and all other files."""
    images: list[Path] = []
    others: list[Path] = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        (others if hidden or path.suffix.lower() not in _extensions() else images).append(path)
    return images, others


@lru_cache(maxsize=1)
def _extensions() -> frozenset[str]:
    """Return the ends of names of all files that Pillow opens as pictures of points."""
    known = Image.registered_extensions()
    return frozenset(end for end, kind in known.items() if kind in Image.OPEN and kind not in _NO_PICTURES)
