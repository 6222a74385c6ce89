"""The run directory as it is written, round by round; `fedpers.results` says what it holds and reads it.

Every file is written under another name and renamed, so a killed run keeps its finished rounds.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.results.tables import arrow_schema
from fedpers.rows import Diagnostic, Entry, Row

FAILURE = "failure.json"
"""What Flower's runtimes leave of an error that ended a run."""


class RunWriter:
    """Writes one run directory.

    Args:
        folder: A directory that does not exist or is empty.

    Raises:
        UserError: the directory holds something or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        """Make the directory."""
        self.folder = folder
        check_run_directory(folder)
        try:
            for name in ("metrics", "traffic", "diagnostics", "figures"):
                (folder / name).mkdir(parents=True)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def write_json(self, name: str, content: Any) -> None:
        """Write one JSON file."""
        scratch = self.folder / f".{name}"
        scratch.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        scratch.replace(self.folder / name)

    def copy(self, path: Path) -> None:
        """Keep a copy of a file."""
        scratch = self.folder / f".{path.name}"
        shutil.copyfile(path, scratch)
        scratch.replace(self.folder / path.name)

    def write_round(
        self, round: int, rows: Sequence[Row], entries: Sequence[Entry], diagnostics: Sequence[Diagnostic] = ()
    ) -> None:
        """Write a round's tables; a round without evaluation has no metric table."""
        if diagnostics:
            self._write_table("diagnostics", round, diagnostics, Diagnostic)
        if rows:
            self._write_table("metrics", round, rows, Row)
        self._write_table("traffic", round, entries, Entry)

    def _write_table(self, table: str, round: int, rows: Sequence[Any], row: type) -> None:
        path = self.folder / table / f"round-{round:05d}.parquet"
        scratch = path.with_name(f".{path.name}")
        columns = pa.table(
            {field.name: [getattr(each, field.name) for each in rows] for field in dataclasses.fields(row)},
            schema=arrow_schema(row),
        )
        pq.write_table(columns, scratch)
        scratch.replace(path)


def run_directory(config: Config, start: datetime) -> Path:
    """Return where a run writes: what its configuration says, or a new folder named by experiment and time."""
    return Path(config.out or f"runs/{config.choices.get('experiment', 'run')}/{start:%Y-%m-%d_%H-%M-%S}")


def check_run_directory(folder: Path) -> None:
    """Raise a UserError unless `folder` is absent or empty, and can be written."""
    if folder.is_dir():
        if any(folder.iterdir()):
            raise UserError(
                f"the run directory {folder} is not empty; results are never overwritten. "
                "Name another one with out=DIR, or remove it"
            )
        if not os.access(folder, os.W_OK):
            raise _unwritable(folder, PermissionError("no write permission"))
    elif folder.exists():
        raise UserError(f"the run directory {folder} is a file. Name another one with out=DIR")
    else:
        parent = next(path for path in folder.absolute().parents if path.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise _unwritable(folder, PermissionError(f"no write permission in {parent}"))


def _unwritable(folder: Path, error: OSError) -> UserError:
    reason = error.strerror or str(error)
    return UserError(f"the run directory {folder} cannot be written ({reason}). Name another one with out=DIR")
