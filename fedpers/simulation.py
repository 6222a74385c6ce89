"""The simulator from Python: `simulate` runs to the end, `Simulation` goes round by round.

Overrides are those of the command line, and so are the numbers, to the bit. Objects may stand in the place of names.
"""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fedpers import figures
from fedpers.algorithm import ServerState, State
from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.jobs import Job, claimed
from fedpers.objects import INSTEAD, is_object, named, text_of
from fedpers.planning import plan
from fedpers.progress import Display, Silent
from fedpers.results import Run
from fedpers.resume import Standing
from fedpers.rows import Row
from fedpers.server_app import Ended


def simulate(*overrides: str, progress: bool = True, config_dir: str | None = None, **values: Any) -> Run:
    """Run a federation to its end and return its results.

    Args:
        *overrides: As on the command line: "strategy=fedper", "partition.alpha=0.1", "resume=runs/mine".
        progress: Show a bar, as the command line does; in a notebook, too.
        config_dir: A folder with groups of your own, as `--config-dir`.
        **values: Keys without a dot, `rounds=10`; and objects in the place of names: `strategy=`, `dataset=`,
            `partition=`, `model=` and other groups take an object or a function that makes one, `metrics=` and
            `figures=` lists of names and functions.

    Raises:
        UserError: the configuration is impossible; nothing was written.
        FederationError: the federation could not go on; finished rounds are kept.
    """
    simulation = Simulation(*overrides, progress=progress, config_dir=config_dir, **values)
    return simulation.run()


@dataclasses.dataclass(frozen=True)
class Round:
    """A round that has just ended, to be looked at before the next one begins.

    What it shows is the simulation's own memory: look, copy, do not write.
    """

    _ended: Ended

    @property
    def number(self) -> int:
        """The round, counted from 1."""
        return self._ended.number

    @property
    def accuracy(self) -> float | None:
        """The personal models' mean test accuracy, in [0, 1]; None where the round was not scored.

        Over the clients that may train and do not poison, as in a run's headline.
        """
        return self._ended.accuracy

    @property
    def scores(self) -> pd.DataFrame:
        """A row for each client, model, split and metric: the columns of `fedpers.rows.Row`."""
        return pd.DataFrame(self._ended.rows, columns=[each.name for each in dataclasses.fields(Row)])

    @property
    def diagnostics(self) -> dict[int, dict[str, float]]:
        """What each client, and the server as client -1, reported of the round, by client and by name."""
        found: dict[int, dict[str, float]] = {}
        for each in self._ended.diagnostics:
            found.setdefault(each.client, {})[each.name] = each.value
        return found

    @property
    def state(self) -> ServerState:
        """What the server half remembers now; `state.shared` is what every client is sent next.

        Raises:
            UserError: the strategy is one of Flower's own, which keeps its state to itself.
        """
        state: ServerState = self._carrier.state
        return state

    @property
    def sent(self) -> dict[int, State]:
        """What each client that was heard has sent, by client and by name."""
        return {client: dict(each.tensors) for client, each in self._carrier.sent.items()}

    def received(self, client: int) -> State:
        """Return what a client was sent in this round to train with, by name."""
        before = self._carrier.before
        own = self._carrier.server.send_to(before, client, self.number, "train")
        return {**before.shared, **own}

    def memory(self, client: int) -> State:
        """Return what a client remembers now, by name: its personal layers, say; empty: nothing yet."""
        grid: Any = self._ended.grid
        found: State = grid.memory(client) if client in grid.remembering() else {}
        return found

    @property
    def _carrier(self) -> Any:
        if self._ended.carrier is None:
            raise UserError("this strategy is one of Flower's own, and keeps its state to itself")
        return self._ended.carrier


class Simulation:
    """A federation that is gone through round by round.

    `for round in simulation` begins, or goes on where it was left: whoever leaves the loop early finds a checkpoint in
    the run directory, and the numbers are those of a run that never stopped.

    Args:
        *overrides: As on the command line; see `simulate`.
        progress: Show a bar.
        config_dir: A folder with groups of your own.
        **values: Keys and objects; see `simulate`.

    Raises:
        UserError: the configuration is impossible; nothing was written.
    """

    def __init__(self, *overrides: str, progress: bool = False, config_dir: str | None = None, **values: Any) -> None:
        """Compose and check the configuration."""
        self._progress = progress
        objects = {key: value for key, value in values.items() if is_object(key, value)}
        words = [*overrides, *(f"{key}={text_of(values[key])}" for key in values if key not in objects)]
        for word in words:
            if word.partition("=")[0].partition(".")[0] in objects:
                raise UserError(f"{word} is not possible beside an object. Accepted: one or the other")
        names = named(objects)
        if not any(word.startswith("resume=") for word in words):
            words += [f"{key}={name}" for key, name in INSTEAD.items() if key in objects]
        elif names.plugins and not any(word.startswith("plugins=") for word in words):
            words.append(f"plugins=[{','.join(names.plugins)}]")
        planned = plan(words, False, config_dir)
        if planned.is_sweep:
            raise UserError("resume=FOLDER of a sweep is for the command line. Accepted: the directory of one run")
        (job,) = planned.jobs
        self._job = dataclasses.replace(job, config=names.put_into(job.config))
        self._job.check()
        self._has_begun = False

    @property
    def config(self) -> Config:
        """The whole configuration."""
        return self._job.config

    @property
    def folder(self) -> Path:
        """The run directory."""
        return self._job.folder

    @property
    def results(self) -> Run:
        """What has been written so far, read as a `Run`.

        Raises:
            UserError: no round has begun.
        """
        return Run(self.folder)

    def __iter__(self) -> Iterator[Round]:
        """Go through the rounds that are left."""
        job = self._standing()
        if job.is_done:
            return
        with _undisturbed(job.config), self._display(job) as reporter:
            for ended in job.rounds(reporter):
                yield Round(ended)

    def run(self) -> Run:
        """Run what is left to its end, draw its figures and return the results.

        Raises:
            FederationError: the federation could not go on; finished rounds are kept.
        """
        job = self._standing()
        if not job.is_done:
            with _undisturbed(job.config), self._display(job) as reporter:
                job.run(reporter)
        run = self.results
        if run.summary["last"]:
            figures.draw([run], self.folder / "figures", self.config.figures, self.config.plugins)
        return run

    def _standing(self) -> Job:
        """Return the job, in a folder of its own; once it has begun it goes on."""
        if self._has_begun and not self._job.standing and (self.folder / "config.json").is_file():
            self._job = dataclasses.replace(self._job, standing=Standing(self.folder))
        elif not self._has_begun:
            (self._job,) = claimed([self._job], is_sweep=False)
            self._has_begun = True
        return self._job

    @contextmanager
    def _display(self, job: Job) -> Iterator[Any]:
        if not self._progress:
            yield Silent()
            return
        with Display(job.title, job.config.rounds, quiet=job.config.quiet) as display:
            yield display


@contextmanager
def _undisturbed(config: Config) -> Iterator[None]:
    """Leave the number of PyTorch's threads, and Flower's logger, as the program has them."""
    threads, logger = torch.get_num_threads(), logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.DEBUG if config.debug else logging.ERROR)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        logger.setLevel(level)
