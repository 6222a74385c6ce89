"""The small federations that the contract is checked on, run by the simulator itself."""

import dataclasses
import logging
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedpers import assembly, checkpoint, server_app
from fedpers.algorithm import Algorithm
from fedpers.client_app import Desk, run_config
from fedpers.config.compose import compose_config, merged
from fedpers.config.keys import Config
from fedpers.contract.watched import Book, Broken, Eyes, watch
from fedpers.data.shards import Shards
from fedpers.engines.local import LocalGrid
from fedpers.errors import FederationError
from fedpers.progress import Silent
from fedpers.results import Run
from fedpers.results.writer import RunWriter
from fedpers.rows import Entry, Row
from fedpers.worker import Worker

SMALL = (
    "dataset=digits",
    "partition=iid",
    "partition.num_clients=4",
    "partition.max_samples=120",
    "model=mlp",
    "model.hidden=[8,6]",
    "rounds=3",
    "batch_size=8",
    "local_epochs=1",
    "lr=0.1",
    "momentum=0",
    "eval_every=1",
    "finetune_epochs=0",
    "participation=0.75",
    "engine=local",
    "figures=[]",
)
"""Four clients with 18 training images each, three of them a round, three rounds."""


@dataclass(frozen=True)
class Candidate:
    """An algorithm that is to be checked.

    Args:
        overrides: What chooses it, as on the command line.
        config_dir: A folder with groups of the user's own.
        cache: Folder of prepared data; None for the usual one.
    """

    overrides: tuple[str, ...]
    config_dir: str | None = None
    cache: str | None = None

    def config(self, *overrides: str) -> Config:
        """Compose a small federation with it, with what it needs, and with further overrides on top.

        Raises:
            UserError: that is impossible.
        """
        given = merged(SMALL, self.overrides, overrides)
        config = compose_config(given, self.config_dir)
        needs = assembly.build_algorithm(config).needs(config)
        named = {text.partition("=")[0] for text in (*self.overrides, *overrides)}
        changes = {key: value for key, value in needs.items() if key not in named}
        return dataclasses.replace(config, cache=self.cache or config.cache, **changes)

    def algorithm(self) -> Algorithm:
        """Build the algorithm."""
        return assembly.build_algorithm(self.config())


@dataclass(frozen=True)
class Played:
    """A federation that has ended.

    Args:
        run: Its results.
        book: What was noted.
        files: The bytes of its metric tables, by name.
    """

    run: Run
    book: Book
    files: dict[str, bytes]


PLAIN = Eyes()
"""Nothing is tried besides."""


class App:
    """A ClientApp whose clients are served by a given algorithm, each thread with a desk of its own."""

    def __init__(self, config: Config, shards: Shards, algorithm: Algorithm) -> None:
        """Take what every thread's worker is made of."""
        self._parts = config, shards, algorithm
        self._thread = threading.local()

    def __call__(self, message: Any, context: Any) -> Any:
        """Answer a message."""
        if not hasattr(self._thread, "desk"):
            torch.set_num_threads(1)
            self._thread.desk = Desk(Worker(*self._parts))
        desk: Desk = self._thread.desk
        answers = {"train": desk.train, "evaluate": desk.evaluate, "query": desk.deployed}
        return answers[message.metadata.message_type.partition(".")[0]](message, context)


class Backwards(LocalGrid):
    """Calls clients in descending order."""

    def answer(self, messages: list[Any]) -> list[Any]:
        """Run the clients and return their replies, in the messages' order."""
        return super().answer(messages[::-1])[::-1]


class _Stopped(Exception):
    """Somebody has stopped a run."""


class _Stops(Silent):
    """Stops a run after a round."""

    def __init__(self, after: int) -> None:
        """Take the round."""
        self._after = after

    def round_done(self, round: int, rows: list[Row], entries: list[Entry]) -> None:
        """Stop the run if it is time."""
        if round == self._after:
            raise _Stopped


def play(
    config: Config,
    folder: Path,
    eyes: Eyes = PLAIN,
    *,
    num_threads: int = 1,
    grid: type[LocalGrid] = LocalGrid,
    stopped_after: int | None = None,
    gated: bool = False,
) -> Played:
    """Run a federation to its end.

    Args:
        config: The configuration.
        folder: Run directories go below it.
        eyes: What is tried besides.
        num_threads: Clients at the same time.
        grid: How clients are called.
        stopped_after: The round after which it is stopped, to go on from its checkpoint with everything made anew.
        gated: What clients send is checked before the server half sees it, as in every run; the contract's own checks
            see more without.

    Raises:
        Broken: clients fail, or the run cannot go on.
        UserError: the configuration is impossible.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    config, shards = assembly.open_run(config.to_json())
    assembly.check(config, shards)
    book = Book()
    run_folder = Path(tempfile.mkdtemp(dir=folder))
    for stop in (None,) if stopped_after is None else (stopped_after, None):
        algorithm = watch(assembly.build_algorithm(config), book, eyes)
        app: Any = App(config, shards, algorithm)
        clients = grid(app, shards.num_clients, run_config(config, shards), num_threads)
        goes_on = stopped_after is not None and stop is None
        snapshot = checkpoint.read(run_folder) if goes_on else None
        writer = RunWriter(run_folder, goes_on_after=stopped_after if goes_on else None)
        reporter = Silent() if stop is None else _Stops(stop)
        try:
            server_app.serve(clients, config, shards, writer, reporter, algorithm, goes_on_from=snapshot, gated=gated)
        except FederationError as error:
            raise Broken(f"training fails: {error}") from error
        except _Stopped:
            pass
        finally:
            clients.close()
    run = Run(run_folder)
    _no_failures(run, eyes)
    files = {path.name: path.read_bytes() for path in sorted((run.folder / "metrics").iterdir())}
    return Played(run, book, files)


def _no_failures(run: Run, eyes: Eyes) -> None:
    errors = run.traffic[run.traffic.kind == "error"]
    for row in errors.itertuples():
        if (row.client, row.round) != eyes.fails or row.phase != "train":
            raise Broken(f"client {row.client} fails in round {row.round} ({row.phase}): {row.error}")
