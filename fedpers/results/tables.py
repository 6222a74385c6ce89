"""The tables that a run leaves behind, read in the form of `fedpers.rows`, whatever version wrote them."""

import types
import typing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fedpers.errors import UserError
from fedpers.rows import COLUMNS, Row, metric_rank

_KEYS = [name for name in COLUMNS if name not in ("metric", "value")]
_IDENTITY = ["round", "client", "model", "split"]
_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}


def arrow_schema(row: type) -> pa.Schema:
    """Return the columns of a table of rows; a field that may be None is nullable."""
    fields = []
    for name, hint in typing.get_type_hints(row).items():
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        fields.append(pa.field(name, _ARROW[options[0]], nullable=types.NoneType in options))
    return pa.schema(fields)


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
