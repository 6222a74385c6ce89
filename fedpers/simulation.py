"""The simulator from Python: `simulate` runs to the end, `Simulation` goes round by round.

Overrides are those of the command line, and so are the numbers, to the bit. Objects may stand in the place of names.
"""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fedpers import figures, given
from fedpers.aggregation import Aggregation
from fedpers.algorithm import Algorithm, ServerState, State
from fedpers.attacks import Attack
from fedpers.config.compose import group_choices
from fedpers.config.keys import Config
from fedpers.data.images import Images
from fedpers.data.partitions.base import Partition
from fedpers.data.shift import Shift
from fedpers.errors import UserError
from fedpers.faults import Faults
from fedpers.jobs import Job, claimed
from fedpers.models.staged import Staged
from fedpers.planning import plan
from fedpers.privacy import Privacy
from fedpers.progress import Display, Silent
from fedpers.results import Run
from fedpers.resume import Standing
from fedpers.rows import Row, mean_accuracy
from fedpers.server_app import Ended

KINDS: dict[str, type] = {
    "strategy": Algorithm,
    "dataset": Images,
    "partition": Partition,
    "shift": Shift,
    "model": Staged,
    "aggregation": Aggregation,
    "faults": Faults,
    "attack": Attack,
    "privacy": Privacy,
}
"""What may be given as an object, by group."""

_FUNCTIONS = ("metrics", "figures")
_INSTEAD = {"dataset": "digits"}
"""What is composed while an object is to take its place: without it quickstart's writers would be looked for."""


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
        """The personal models' mean test accuracy over all clients, in [0, 1]; None where the round was not scored."""
        return mean_accuracy(self._ended.rows, "test")

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
        objects = {key: value for key, value in values.items() if _is_object(key, value)}
        words = [*overrides, *(f"{key}={_text(values[key])}" for key in values if key not in objects)]
        for word in words:
            if word.partition("=")[0].partition(".")[0] in objects:
                raise UserError(f"{word} is not possible beside an object. Accepted: one or the other")
        named = _named(objects)
        if not any(word.startswith("resume=") for word in words):
            words += [f"{key}={name}" for key, name in _INSTEAD.items() if key in objects]
        elif named.plugins and not any(word.startswith("plugins=") for word in words):
            words.append(f"plugins=[{','.join(named.plugins)}]")
        (job,) = plan(words, False, config_dir).jobs
        self._job = dataclasses.replace(job, config=named.put_into(job.config))
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


def _is_object(key: str, value: Any) -> bool:
    """Tell whether a value is no text that the command line could hold."""
    if key in _FUNCTIONS:
        return any(not isinstance(each, str) for each in value)
    return not isinstance(value, str | bool | int | float | list | tuple | None)


def _text(value: Any) -> str:
    """Return a plain value as the command line has it."""
    return value if isinstance(value, str) else json.dumps(value)


@dataclasses.dataclass(frozen=True)
class _Named:
    """How a configuration names objects.

    Args:
        values: What their keys have.
        choices: What tables call them.
        plugins: The modules that have to be named for it.
    """

    values: dict[str, Any]
    choices: dict[str, str]
    plugins: list[str]

    def put_into(self, config: Config) -> Config:
        """Return a configuration with the objects in the place of what it named."""
        plugins = [*config.plugins, *(each for each in self.plugins if each not in config.plugins)]
        return dataclasses.replace(config, **self.values, choices=config.choices | self.choices, plugins=plugins)


def _named(objects: dict[str, Any]) -> _Named:
    """Return how a configuration names some objects, by key.

    Raises:
        UserError: a key takes none.
    """
    found = _Named({}, {}, [])
    for key, thing in objects.items():
        if key in _FUNCTIONS:
            found.values[key], needed = _paths(key, thing)
        elif key in KINDS:
            found.values[key], needed = given.spec_of(thing, key, KINDS[key], found.plugins)
            found.choices[key] = _choice(key, thing, found.values[key]["_target_"])
        else:
            raise UserError(
                f"{key}={type(thing).__name__} is not possible. Objects are accepted for {', '.join(KINDS)}, functions "
                f"for {', '.join(_FUNCTIONS)}"
            )
        found.plugins.extend(module for module in needed if module not in found.plugins)
    return found


def _paths(key: str, things: Sequence[str | Callable[..., Any]]) -> tuple[list[str], list[str]]:
    found, needed = list[str](), list[str]()
    for thing in things:
        path, modules = (thing, []) if isinstance(thing, str) else given.path_of(thing, key)
        found.append(path)
        needed += modules
    return found, needed


def _choice(group: str, thing: Any, target: str) -> str:
    """Return what tables call a choice: a dataset's name, that of the YAML file that gives the same, or the class's."""
    if isinstance(thing, Images):
        return thing.name
    for name, path in group_choices(group).items():
        if f"\n_target_: {target}\n" in f"\n{path.read_text()}\n":
            return name
    last = target.rpartition(".")[2]
    return last.rpartition("_")[0] if given.is_given(target) else last
