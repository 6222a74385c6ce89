"""The run directory as it is written, round by round; `fedpers.results` says what it holds and reads it.

Every file is written under another name and renamed, so a killed run keeps its finished rounds.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fedpers.checkpoint import forget_after
from fedpers.config.keys import Config
from fedpers.errors import UserError, cannot_write, writing
from fedpers.results.reading import read_object
from fedpers.results.tables import arrow_schema
from fedpers.rows import Diagnostic, Entry, Row
from fedpers.scratch import replaced

TABLES = ("metrics", "traffic", "diagnostics")
"""Folders of tables, a file a round."""

_OF_EACH_START = ("started", "platform", "git", "code_sha256", "dataset_sha256", "assignment_sha256", "init_sha256")
"""What a manifest says of each time that a run went on: what may then have been another."""

FAILURE = "failure.json"
"""What Flower's runtimes leave of an error that ended a run."""


class RunWriter:
    """Writes one run directory.

    Args:
        folder: A directory that does not exist or is empty; where a run goes on, its own.
        goes_on_after: The round after which a run goes on there, 0 if it starts over; None: it is a new run.
        differences: What differs since that run was begun, in words.

    Raises:
        UserError: the directory holds something else or cannot be written.
    """

    def __init__(self, folder: Path, *, goes_on_after: int | None = None, differences: Sequence[str] = ()) -> None:
        """Make the directory; what other code or another configuration made of later rounds goes."""
        self.folder, self._goes_on_after, self._differences = folder, goes_on_after, list(differences)
        if goes_on_after is None:
            check_run_directory(folder)
        try:
            for name in TABLES:
                (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / "figures").mkdir(exist_ok=True)
            if goes_on_after is not None:
                forget_after(folder, goes_on_after)
                (folder / "summary.json").unlink(missing_ok=True)
            for path in folder.glob("*/round-*.parquet") if differences else ():
                if int(path.stem.partition("-")[2]) > (goes_on_after or 0):
                    path.unlink()
        except OSError as error:
            raise _unwritable(folder, error) from error

    def begin(self, config: Config, manifest: dict[str, Any], data: dict[str, Any], clients: Path) -> None:
        """Write what is known before the first round; of a run that goes on, that it does.

        Args:
            config: The configuration.
            manifest: What made the run, and when.
            data: The data's manifest.
            clients: The table of clients, of which a copy is kept.
        """
        path = self.folder / "manifest.json"
        if self._goes_on_after is not None and path.is_file():
            first, again = read_object(path, "the run was never begun"), {key: manifest[key] for key in _OF_EACH_START}
            again |= {"after_round": self._goes_on_after, "differences": self._differences}
            manifest = {**first, "resumed": [*first.get("resumed", []), again]}
        self.write_json("config.json", dataclasses.asdict(config))
        self.write_json("manifest.json", manifest)
        self.write_json("data.json", data)
        self.copy(clients)

    def write_json(self, name: str, content: Any) -> None:
        """Write one JSON file."""
        with self._writing():
            write_json(self.folder / name, content)

    def copy(self, path: Path) -> None:
        """Keep a copy of a file."""
        with self._writing(), replaced(self.folder / path.name) as scratch:
            shutil.copyfile(path, scratch)

    def write_round(
        self, round: int, rows: Sequence[Row], entries: Sequence[Entry], diagnostics: Sequence[Diagnostic] = ()
    ) -> None:
        """Write a round's tables; a round without evaluation has no metric table."""
        with self._writing():
            if diagnostics:
                self._write_table("diagnostics", round, diagnostics, Diagnostic)
            if rows:
                self._write_table("metrics", round, rows, Row)
            self._write_table("traffic", round, entries, Entry)

    def _writing(self) -> AbstractContextManager[None]:
        return writing(
            f"the run directory {self.folder}",
            "Make room; the results of finished rounds are kept, and resume=RUN goes on",
        )

    def _write_table(self, table: str, round: int, rows: Sequence[Any], row: type) -> None:
        path = self.folder / table / f"round-{round:05d}.parquet"
        columns = pa.table(
            {field.name: [getattr(each, field.name) for each in rows] for field in dataclasses.fields(row)},
            schema=arrow_schema(row),
        )
        with replaced(path) as scratch:
            pq.write_table(columns, scratch)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file under another name and rename it."""
    with replaced(path) as scratch:
        scratch.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def run_directory(config: Config, start: datetime) -> Path:
    """Return where a run writes: what its configuration says, or a new folder named by experiment and time."""
    return Path(config.out or f"runs/{config.choices.get('experiment', 'run')}/{start:%Y-%m-%d_%H-%M-%S}")


def check_run_directory(folder: Path) -> None:
    """Raise a UserError unless `folder` is absent or holds no file, and can be written.

    Empty folders and scratch files are what is left of a run that was killed when it began.
    """
    if folder.is_dir():
        if any(not path.is_dir() and not path.name.startswith(".") for path in folder.rglob("*")):
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
    return cannot_write(f"the run directory {folder}", error, "Name another one with out=DIR")
