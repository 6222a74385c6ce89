"""Any folder of images with a folder for each class, as `torchvision.datasets.ImageFolder` has it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torchvision.datasets import ImageFolder

from fedpers.data import files
from fedpers.data.gathering import Gathering
from fedpers.data.images import Images
from fedpers.errors import UserError


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
    """Load the images of several folders with the same classes; return them and the names of the classes."""
    labels: list[int] = []
    classes: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise files.missing(name, folder, ("CLASS/IMAGE.png", "CLASS/IMAGE.jpg"), downloadable=False)
        try:
            found = ImageFolder(str(folder))
        except FileNotFoundError as error:  # no class, or a class without an image
            raise UserError(
                f"{folder} is no folder of images ({' '.join(str(error).split())}). Accepted: a folder for each class, "
                "with images in each"
            ) from error
        if classes and found.classes != classes:
            odd = sorted(set(classes) ^ set(found.classes))
            raise UserError(
                f"{folders[0]} and {folder} differ in classes: {', '.join(odd)}. Accepted: the same classes"
            )
        classes = found.classes
        for path, label in found.samples:
            gathering.add(Path(path), path)
            labels.append(label)
    return Images(name, gathering.pixels(), np.array(labels, np.int64), len(classes), mean, std), classes
