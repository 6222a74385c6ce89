"""The rows of the tables that a run leaves behind."""

import re
import types
import typing
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fedpers.errors import UserError

MODELS = ("personal", "global", "finetuned")
SPLITS = ("val", "test")
ALWAYS = ("accuracy", "loss")
"""The metrics that every run measures."""


@dataclass(frozen=True)
class Row:
    """One line of the metric table: one figure of a client's model on one of its splits after one round.

    Args:
        round: The round, counted from 1.
        client: The client's number.
        model: "personal", "global" or "finetuned".
        split: "val" or "test".
        num_examples: Samples in the split.
        metric: "accuracy", "loss", ... (`fedpers.scoring`); a slash parts the figures of one ("class_accuracy/3").
        value: The figure: finite, but for the loss of a model that has diverged.
        sampled: Whether the client trained in this round.
    """

    round: int
    client: int
    model: str
    split: str
    num_examples: int
    metric: str
    value: float
    sampled: bool


COLUMNS = tuple(field.name for field in fields(Row))
_KEYS = [name for name in COLUMNS if name not in ("metric", "value")]
_IDENTITY = ["round", "client", "model", "split"]


@dataclass(frozen=True)
class Entry:
    """One payload kind of one message.

    Args:
        round: The round, counted from 1.
        phase: "train", or "evaluate" for messages that exist only to measure.
        client: The client's number.
        direction: "down" from the server, "up" to it.
        kind: weights, heads, representations, soft_labels, labels, prototypes, control, metrics, or error.
        bytes: Serialized size.
        seconds: What the client took; given once a reply, with its metrics.
        error: Why the client failed, if it did.
    """

    round: int
    phase: str
    client: int
    direction: str
    kind: str
    bytes: int
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Diagnostic:
    """One figure of the training phase of a round.

    Args:
        round: The round, counted from 1.
        client: The client's number; -1 for the server.
        name: What was measured, e.g. "loss"; a slash separates parts ("drift/conv1").
        value: The figure.
    """

    round: int
    client: int
    name: str
    value: float


def mean_accuracy(rows: list[Row], split: str) -> float | None:
    """Return the personal models' mean accuracy over clients, None without evaluation."""
    values = [row.value for row in rows if (row.model, row.split, row.metric) == ("personal", split, "accuracy")]
    return sum(values) / len(values) if values else None


_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}


def arrow_schema(row: type) -> pa.Schema:
    """Return the columns of a table of rows; a field that may be None is nullable."""
    fields = []
    for name, hint in typing.get_type_hints(row).items():
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        fields.append(pa.field(name, _ARROW[options[0]], nullable=types.NoneType in options))
    return pa.schema(fields)


@lru_cache
def metric_rank(name: str) -> tuple[int, list[str | int]]:
    """Return a key that sorts metrics: accuracy, loss, then by name, numbers in them by size."""
    first = ALWAYS.index(name) if name in ALWAYS else len(ALWAYS)
    return first, [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def read_parquet(path: Path) -> pa.Table:
    """Read one file.

    Raises:
        UserError: it is damaged.
    """
    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged ({error})") from error


def read_rows(path: Path, row: type) -> pa.Table:
    """Read a file of rows; metrics come in long form, whatever version wrote them.

    Raises:
        UserError: it is damaged.
    """
    table, schema = read_parquet(path), arrow_schema(row)
    return (to_long(table) if row is Row else table).select(schema.names).cast(schema)


def to_long(table: pa.Table) -> pa.Table:
    """Return a metric table in long form; runs of earlier versions have a column for each metric instead."""
    if "metric" in table.column_names:
        return table
    metrics = sorted((name for name in table.column_names if name not in _KEYS), key=metric_rank)
    long = table.take(np.arange(len(table)).repeat(len(metrics)))
    values = np.stack([table[name].to_numpy() for name in metrics], axis=1).ravel()
    return long.append_column("metric", [metrics * len(table)]).append_column("value", [values])


def to_wide(long: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each round, client, model and split, in their order, with a column for each metric."""
    numbers = long.groupby(_IDENTITY, sort=False).ngroup().to_numpy()
    wide = long.loc[~long.duplicated(_IDENTITY), _KEYS].reset_index(drop=True)
    for name in sorted(long.metric.unique(), key=metric_rank):
        is_of_it = (long.metric == name).to_numpy()
        values = np.full(len(wide), np.nan)
        values[numbers[is_of_it]] = long.value.to_numpy()[is_of_it]
        wide[name] = values
    return wide
