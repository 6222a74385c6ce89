"""Runs of a study: which of them are still to be made, and making them, several at a time."""

import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedpers.config.identity import identity
from fedpers.config.keys import Config
from fedpers.errors import UserError, writing
from fedpers.pool import DIED, side_by_side
from fedpers.progress import Bar
from fedpers.results.writer import write_json


@dataclass(frozen=True)
class Job:
    """One run.

    Args:
        name: Its directory's name.
        config: Its configuration, `out` included.
        code: A hash of the code that would make it, `fedpers.provenance.run_sha256`; None if it cannot be told.
    """

    name: str
    config: Config
    code: str | None

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(str(self.config.out))

    def is_done(self) -> bool:
        """Tell whether the directory holds a finished run of this very configuration, by whatever code."""
        found = self._read("config.json")
        return bool(found) and identity(found) == identity(self.config) and (self.folder / "summary.json").is_file()

    def can_go_on(self) -> bool:
        """Tell whether the directory holds an interrupted run of this configuration and code, and its checkpoint."""
        found = self._read("config.json")
        same = bool(found) and identity(found) == identity(self.config) and not self.foreign_code()
        return same and not (self.folder / "summary.json").exists() and any(self.folder.glob("checkpoint/*.json"))

    def foreign_code(self) -> str:
        """Say which code the finished run comes from; nothing if it is the code that would make it now."""
        manifest = self._read("manifest.json")
        found, git = manifest.get("code_sha256"), manifest.get("git")
        if found is None or self.code is None:
            return "unknown code"
        if found == self.code:
            return ""
        commit = f", commit {git['commit'][:10]}{' with changes' if git['dirty'] else ''}" if git else ""
        return f"other code{commit}"

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


class Workshop:
    """Makes runs, and remembers which directories it made: only those are ever removed.

    Args:
        folder: Holds the run directories.
        num_workers: Runs at the same time; more than one are processes of their own.
        progress: Is told of every run.
        reuse: Keep finished runs although other code made them.
    """

    def __init__(self, folder: Path, num_workers: int, progress: "Tally", *, reuse: bool = False) -> None:
        """Read what was made before."""
        self.folder, self.num_workers, self.progress, self.reuse = folder, num_workers, progress, reuse
        self.kept: dict[str, str] = {}
        self._record = folder / "made.json"
        self._made: set[str] = set(json.loads(self._record.read_text())) if self._record.is_file() else set()

    def make(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Make all runs that are not done yet, or were by other code, and return what went wrong, by name.

        With `reuse` those of other code are kept, and `kept` says by name from which.

        Raises:
            UserError: a directory to write to is not one of a study's runs.
        """
        finished = {job.name for job in jobs if job.is_done()}
        foreign = {job.name: code for job in jobs if job.name in finished and (code := job.foreign_code())}
        if self.reuse:
            self.kept |= foreign
        elif foreign:
            finished -= foreign.keys()
            self.progress.differ(foreign)
        todo = [job for job in jobs if job.name not in finished]
        for _ in finished:
            self.progress.skipped()
        for job in todo:
            self._clear(job)
        self._made |= {job.name for job in todo}
        if todo:
            self._write_record()
        failures: dict[str, str] = {}
        for job, error, seconds in self._results(todo):
            self.progress.ended(job.name, error, seconds)
            if error:
                failures[job.name] = error
        return failures

    def _clear(self, job: Job) -> None:
        """Remove what is left of a run, unless it can go on."""
        folder = job.folder
        if not folder.exists() and not folder.is_symlink():
            return
        if job.name not in self._made or folder.is_symlink() or not folder.is_dir():
            raise UserError(f"{folder} was not made by this study. Name another folder with out=DIR, or remove it")
        if not job.can_go_on():
            shutil.rmtree(folder)

    def _write_record(self) -> None:
        with writing(self.folder, "Name another folder with out=DIR"):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self._record, sorted(self._made))

    def _results(self, jobs: list[Job]) -> Iterator[tuple[Job, str, float]]:
        if self.num_workers == 1 or len(jobs) < 2:
            for job in jobs:
                yield job, *execute(job.config.to_json())
            return
        by_text = {job.config.to_json(): job for job in jobs}
        for text, result in side_by_side(execute, by_text, min(self.num_workers, len(jobs))):
            yield by_text[text], *(result or (DIED, 0.0))


def execute(text: str) -> tuple[str, float]:
    """Make one run without printing anything and return what went wrong, if anything, and its seconds.

    A run that was interrupted goes on. One that has ended needs its checkpoint no more.
    """
    from fedpers import checkpoint, jobs
    from fedpers.assembly import read_config
    from fedpers.progress import Silent
    from fedpers.resume import Standing

    logging.getLogger("flwr").setLevel(logging.ERROR)
    start = time.perf_counter()
    try:
        config = read_config(text)
        config = dataclasses.replace(config, save="none") if config.save == "auto" else config
        folder = Path(str(config.out))
        jobs.Job(folder.name, config, Standing(folder) if folder.exists() else None).run(Silent())
        shutil.rmtree(folder / checkpoint.FOLDER, ignore_errors=True)
    except Exception as error:  # one run's failure is not the study's
        return f"{type(error).__name__}: {' '.join(str(error).split())}", time.perf_counter() - start
    return "", time.perf_counter() - start


def listing(foreign: Mapping[str, str]) -> str:
    """Return runs by the code that they come from, as text."""
    names: dict[str, list[str]] = {}
    for name, code in foreign.items():
        names.setdefault(code, []).append(name)
    return "; ".join(f"{', '.join(each)} ({code})" for code, each in names.items())


class Tally(Bar):
    """Reports on standard error how many runs are done: a bar, or a line for each run where there is no terminal.

    Args:
        title: What the study is called.
        num_workers: Runs at the same time.
    """

    def __init__(self, title: str, num_workers: int) -> None:
        """Prepare the bar."""
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.done = self.total = 0
        self._seconds: list[float] = []
        self._num_workers = num_workers
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("runs, left"),
            )
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self.console)
            self._task = self._bar.add_task(title, total=None)

    def expect(self, total: int) -> None:
        """Set the number of runs in all."""
        self.total = total
        if self._bar:
            self._bar.update(self._task, total=total)

    def skipped(self) -> None:
        """Count a run that was done before."""
        self.done += 1
        if self._bar:
            self._bar.update(self._task, completed=self.done)

    def differ(self, foreign: Mapping[str, str]) -> None:
        """Say which finished runs are run again because other code made them, and which code that was."""
        self.console.print(
            f"The code differs from what made {len(foreign)} finished run{'s' * (len(foreign) > 1)}, run again now "
            f"(reuse=true keeps them): {listing(foreign)}",
            markup=False,
        )

    def ended(self, name: str, error: str, seconds: float) -> None:
        """Count a run, and say why if it failed."""
        self.done += 1
        self._seconds.append(seconds)
        if error:
            self.console.print(f"failed: {name}: {error}", markup=False)
        if self._bar:
            self._bar.update(self._task, completed=self.done)
        else:
            each = sum(self._seconds) / len(self._seconds)
            left = each * (self.total - self.done) / self._num_workers
            state = f"[{self.done}/{self.total}] {name}: {seconds:.0f} s, about {left / 60:.0f} min left"
            self.console.print(state, markup=False)
