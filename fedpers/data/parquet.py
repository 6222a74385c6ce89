"""Datasets of images as Parquet files, the form of the Hugging Face hub: a column of encoded images, one of labels."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fedpers.data.gathering import Gathering
from fedpers.errors import UserError

_BATCH = 1_000
_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.parquet")


@dataclass(frozen=True)
class Columns:
    """Names of columns.

    Args:
        image: Encoded images: bytes, or a struct with a field `bytes`.
        label: Classes: whole numbers, or names.
        owner: Whose each sample is; None if nobody knows.
        hint: What to do about a column that is missing.
    """

    image: str
    label: str
    owner: str | None
    hint: str


@dataclass(frozen=True)
class Table:
    """What Parquet files hold beside their images.

    Args:
        labels: (N,), from 0 to `num_classes` - 1.
        num_classes: Number of classes.
        owners: (N,), from 0; None if nobody knows.
        classes: What each class is called in the files, by its name or its number.
    """

    labels: NDArray[np.int64]
    num_classes: int
    owners: NDArray[np.int64] | None
    classes: tuple[str, ...]


def find(root: Path, pattern: str = "*.parquet") -> list[Path]:
    """Return the Parquet files below a folder whose paths end in what a pattern says, in order.

    Raises:
        UserError: of numbered files (`train-00001-of-00003.parquet`) some are missing.
    """
    paths = [root / path for path in visible(root, "*.parquet") if fnmatch(f"/{path}", f"*/{pattern}")]
    there = {str(path) for path in paths}
    for path in paths:
        numbered = _NUMBERED.fullmatch(str(path))
        if numbered:
            prefix, _, count = numbered.groups()
            for number in range(int(count)):
                name = f"{prefix}-{number:05}-of-{count}.parquet"
                if name not in there:
                    raise UserError(f"{name} is missing, one of {int(count)} files. Fetch it, or remove the others")
    return paths


def visible(root: Path, pattern: str) -> list[Path]:
    """Return what fits a pattern below a folder, by paths from there, in order; not what is in hidden folders."""
    paths = [path.relative_to(root) for path in root.rglob(pattern)]
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.parts))


def read(paths: Sequence[Path], columns: Columns, gathering: Gathering, num_classes: int | None) -> Table:
    """Add all images to a gathering and return the labels and owners.

    Args:
        paths: The files.
        columns: Names of their columns.
        gathering: Where the images go.
        num_classes: Number of classes, whose numbers are from 0; None for those that the files name. Where they name
            none, the numbers that occur are numbered anew, in ascending order, without gaps.

    Raises:
        UserError: a file is damaged, a column is missing or of the wrong type, or a row is incomplete.
    """
    labels: list[pa.Array] = []
    owners: list[pa.Array] = []
    names: tuple[str, ...] = ()
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                names = names or _named_classes(file.schema_arrow, columns.label)
                num_classes = num_classes or len(names) or None
                wanted = [name for name in (columns.image, columns.label, columns.owner) if name is not None]
                for name in wanted:
                    if name not in file.schema_arrow.names:
                        found = ", ".join(file.schema_arrow.names)
                        raise UserError(f"{path} has no column {name!r}. It has: {found}. {columns.hint}")
                row = 0
                for batch in file.iter_batches(_BATCH, columns=wanted):
                    _add_images(batch.column(columns.image), path, row, gathering)
                    labels.append(_labels(batch.column(columns.label), path, row, columns.label, num_classes))
                    if columns.owner is not None:
                        owners.append(_owners(batch.column(columns.owner), path, row, columns.owner))
                    row += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{path} is damaged or no Parquet file ({str(error).splitlines()[0]}). Remove it and fetch it again"
            ) from error
    if not labels:
        raise UserError(
            f"dataset {gathering.name}: there is not one image in {paths[0]} and {len(paths) - 1} more files"
        )
    numbered = _encode(owners)[0] if owners else None
    if num_classes and pa.types.is_integer(labels[0].type):
        codes = pa.chunked_array(labels).to_numpy().astype(np.int64)
        fitting = names if len(names) == num_classes else tuple(map(str, range(num_classes)))
        return Table(codes, num_classes, numbered, fitting)
    codes, classes = _encode(labels)
    if num_classes not in (None, len(classes)):
        raise UserError(
            f"dataset.num_classes={num_classes} does not fit dataset {gathering.name}: its files name {len(classes)} "
            f"classes ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}). Accepted: null"
        )
    return Table(codes, len(classes), numbered, classes)


def _named_classes(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """Return the classes that the hub's own description of the columns names, if there is one."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()


def _add_images(column: pa.Array, path: Path, row: int, gathering: Gathering) -> None:
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = column.field("bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise UserError(f"{path}: its images are of type {kind}. Accepted: encoded images, as bytes or as the hub's")
    for number, value in enumerate(column):
        encoded: bytes | None = value.as_py()
        if encoded is None:
            raise UserError(f"{path}, row {row + number}: there is no image. Remove the row or fetch the file again")
        gathering.add(encoded, f"{path}, row {row + number}")


def _labels(column: pa.Array, path: Path, row: int, name: str, num_classes: int | None) -> pa.Array:
    column = _decoded(column)
    whole = pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)
    if not (whole or _is_text(column)):
        raise UserError(
            f"{path}: column {name!r} is of type {column.type}. Accepted: whole numbers, or names of classes"
        )
    if column.null_count:
        raise UserError(f"{path}, row {row + _first(pc.is_null(column))}: there is no {name!r}. Remove the row")
    if not whole:
        return column.cast(pa.string())
    column = _as_int64(column, path, name)
    wrong = pc.less(column, 0) if num_classes is None else pc.invert(_between(column, num_classes))
    if pc.any(wrong).as_py():
        number = _first(wrong)
        most = "" if num_classes is None else f" to {num_classes - 1}"
        raise UserError(
            f"{path}, row {row + number}: {name!r} is {column[number].as_py()}. Accepted: 0{most}"
            + (" and above" if num_classes is None else "")
        )
    return column


def _owners(column: pa.Array, path: Path, row: int, name: str) -> pa.Array:
    column = _decoded(column)
    if not (pa.types.is_integer(column.type) or _is_text(column)):
        raise UserError(
            f"{path}: column {name!r} is of type {column.type}. Accepted: whole numbers, or names of owners"
        )
    empty = pc.is_null(column)
    if _is_text(column):
        empty = pc.or_kleene(empty, pc.equal(column, ""))
    if pc.any(empty).as_py():
        raise UserError(
            f"{path}, row {row + _first(empty)}: {name!r} is empty, so nobody knows whose sample it is. Remove the row "
            "or name its owner"
        )
    return _as_int64(column, path, name) if pa.types.is_integer(column.type) else column.cast(pa.string())


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _decoded(column: pa.Array) -> pa.Array:
    """Return what a dictionary-encoded column stands for, as categories of pandas are written."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _as_int64(column: pa.Array, path: Path, name: str) -> pa.Array:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: column {name!r} has numbers that are too large. Accepted: below 2^63") from error


def _between(column: pa.Array, num_classes: int) -> Any:
    return pc.and_(pc.greater_equal(column, 0), pc.less(column, num_classes))


def _first(mask: Any) -> int:
    return int(np.flatnonzero(mask.to_numpy(zero_copy_only=False))[0])


def _encode(arrays: Sequence[pa.Array]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return what occurs as numbers from 0, in ascending order of numbers or names, and what each stands for."""
    if len({array.type for array in arrays}) > 1:
        raise UserError(f"files disagree about a column: {', '.join(sorted({str(a.type) for a in arrays}))}")
    encoded = pa.chunked_array(arrays).dictionary_encode().combine_chunks()
    dictionary = encoded.dictionary.to_numpy(zero_copy_only=False)
    order = np.argsort(dictionary, kind="stable")
    rank = np.empty(len(dictionary), np.int64)
    rank[order] = np.arange(len(dictionary))
    return rank[encoded.indices.to_numpy()], tuple(str(dictionary[position]) for position in order)
