"""Whose each image of a folder is, and what it shows: from names of folders that it lies in, or from a table."""

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fedpers.data.gathering import Gathering
from fedpers.data.images import Images
from fedpers.errors import UserError

log = logging.getLogger(__name__)

LEVELS = ("client", "split", "class")
"""What a folder may stand for."""

_NO_PICTURES = ("EPS", "HDF5", "MPEG", "PDF", "WMF", "GRIB", "BUFR")
"""What Pillow knows by name and cannot draw by itself."""


class Named(NamedTuple):
    """An image file, what it shows, and whose it is; empty: nobody says."""

    path: Path
    label: str
    client: str


def levels(layout: str) -> tuple[str, ...]:
    """Read a layout such as `client/class/image`.

    Raises:
        UserError: it names something else, or no class.
    """
    *found, last = layout.split("/")
    if last != "image" or "class" not in found or len(set(found)) < len(found) or not set(found) <= set(LEVELS):
        raise UserError(
            f"dataset.layout={layout} is not possible. Accepted: client, split and class in any order, class among "
            "them, and image at the end, with / between them, e.g. client/class/image"
        )
    return tuple(found)


def by_layout(folder: Path, names: Sequence[str]) -> list[Named]:
    """Return the images of a folder by what the folders in it stand for; hidden ones are left out.

    Raises:
        UserError: there are no folders where there must be some, or there is no image.
    """
    found, skipped = list[Named](), list[Path]()
    for leaf, stands_for in _leaves(folder, names, {}, skipped):
        for path in sorted((each for each in leaf.rglob("*") if each.is_file()), key=lambda each: natural(str(each))):
            if looks_like_an_image(path, leaf):
                found.append(Named(path, stands_for["class"], stands_for.get("client", "")))
            else:
                skipped.append(path)
    say_skipped(skipped)
    if not found:
        raise UserError(
            f"{folder} holds no image in folders of {'/'.join(names)}. Accepted: {'/'.join(names)}/IMAGE.png"
        )
    return found


def _leaves(
    folder: Path, names: Sequence[str], above: dict[str, str], skipped: list[Path]
) -> Iterator[tuple[Path, dict[str, str]]]:
    if not names:
        yield folder, above
        return
    skipped += [path for path in folder.iterdir() if path.is_file()]
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not inside:
        raise UserError(
            f"{folder} holds no folder, and by dataset.layout there must be one for each {names[0]}. Accepted: such, "
            "or another layout"
        )
    for path in sorted(inside, key=lambda each: natural(each.name)):
        yield from _leaves(path, names[1:], {**above, names[0]: path.name}, skipped)


def read_table(folder: Path, name: str) -> list[Named]:
    """Return the images that a CSV file names: `path` from the folder on, `label` and perhaps `client`.

    Raises:
        UserError: there is no such file, a column or value is missing, or an image is not there.
    """
    where = folder / name
    try:
        with where.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"dataset.table={name}: {where} cannot be read ({reason}). Accepted: a CSV file") from error
    columns = [str(column) for column in rows[0]] if rows else []
    if not {"path", "label"} <= set(columns):
        has = f"columns {', '.join(columns)}" if rows else "no rows"
        raise UserError(
            f"{where} has {has}. Accepted: columns path and label and, where it is known whose an image is, client"
        )
    needed = [column for column in ("path", "label", "client") if column in columns]
    found = []
    for number, row in enumerate(rows, start=2):
        if empty := [column for column in needed if not row[column]]:
            raise UserError(f"{where}, line {number}: {empty[0]} is empty. Accepted: a value in every line")
        path = folder / row["path"]
        if not path.is_file():
            raise UserError(f"{where}, line {number}: there is no file {path}")
        found.append(Named(path, row["label"], row.get("client") or ""))
    return found


def labelled(
    name: str,
    named: Sequence[Named],
    gathering: Gathering,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> Images:
    """Load images; classes and owners are numbered in their names' order, numbers in names by their value."""
    classes = sorted({each.label for each in named}, key=natural)
    clients = sorted({each.client for each in named}, key=natural)
    for each in named:
        gathering.add(each.path, str(each.path))
    numbers, owners = ({text: number for number, text in enumerate(texts)} for texts in (classes, clients))
    return Images(
        name,
        gathering.pixels(),
        np.array([numbers[each.label] for each in named], np.int64),
        len(classes),
        mean,
        std,
        owners=np.array([owners[each.client] for each in named], np.int64) if clients != [""] else None,
        classes=tuple(classes),
    )


def say_skipped(paths: Sequence[Path]) -> None:
    """Say how many files were left out, and name some of them."""
    if paths:
        names = ", ".join(sorted({path.name for path in paths})[:3])
        log.warning("%d files were skipped, hidden or no images by their names: %s, ...", len(paths), names)


def looks_like_an_image(path: Path, folder: Path) -> bool:
    """Tell whether a file is an image by its name, and neither it nor a folder below the given one is hidden."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in _extensions()


@lru_cache(maxsize=1)
def _extensions() -> frozenset[str]:
    """Return the ends of names of all files that Pillow opens as pictures of points."""
    known = Image.registered_extensions()
    return frozenset(end for end, kind in known.items() if kind in Image.OPEN and kind not in _NO_PICTURES)


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts client_2 before client_10."""
    parts = (part for part in re.split(r"([0-9]+)", text) if part)
    return [(0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts]
