"""Any folder of images: a folder for each class, in folders for each client if there are such, or a table that says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedpers.data import files
from fedpers.data.gathering import Gathering
from fedpers.data.images import Images
from fedpers.data.layouts import by_layout, labelled, levels, looks_like_an_image, read_table, say_skipped
from fedpers.errors import UserError

PLAIN = "class/image"
"""The layout of torchvision's ImageFolder."""


def image_folder(
    root: str,
    *,
    layout: str,
    table: str | None,
    parts: tuple[str, ...],
    channels: int | None,
    size: tuple[int, ...] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> Images:
    """Load the images of a folder; the classes are numbered in their names' order, the owners too.

    Args:
        root: The folder.
        layout: What the folders in it stand for, from the outside in: `class/image`, `client/class/image`,
            `client/split/class/image`, or any other order of these. Where there are clients, each owns its images
            (partition=natural). What is below the last of them counts as being in it. Splits are put together.
        table: A CSV file in ROOT, instead of a layout, with columns `path`, `label` and, if it is known, `client`.
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
    if table is not None or layout != PLAIN:
        if parts or (table is not None and layout != PLAIN):
            both = "parts" if parts else "layout"
            raise UserError(f"dataset.{both} is not possible beside dataset.{'layout' if table is None else 'table'}")
        if not folder.is_dir():
            raise files.missing(folder.resolve().name, folder, (table or layout,), downloadable=False)
        named = read_table(folder, table) if table else by_layout(folder, levels(layout))
        return labelled(folder.resolve().name, named, gathering, mean, std)
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
    say_skipped(skipped)
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
        (images if looks_like_an_image(path, folder) else others).append(path)
    return images, others
