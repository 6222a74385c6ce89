"""The small federations that the contract is checked on, run by the simulator itself."""

import dataclasses
import logging
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedpers import assembly, server_app
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
        is_training = message.metadata.message_type.partition(".")[0] == "train"
        return desk.train(message, context) if is_training else desk.evaluate(message, context)


class Backwards(LocalGrid):
    """Calls clients in descending order."""

    def answer(self, messages: list[Any]) -> list[Any]:
        """Run the clients and return their replies, in the messages' order."""
        return super().answer(messages[::-1])[::-1]


def play(
    config: Config, folder: Path, eyes: Eyes = PLAIN, *, num_threads: int = 1, grid: type[LocalGrid] = LocalGrid
) -> Played:
    """Run a federation to its end.

    Args:
        config: The configuration.
        folder: Run directories go below it.
        eyes: What is tried besides.
        num_threads: Clients at the same time.
        grid: How clients are called.

    Raises:
        Broken: clients fail.
        UserError: the configuration is impossible.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    config, shards = assembly.open_run(config.to_json())
    assembly.check(config, shards)
    book = Book()
    algorithm = watch(assembly.build_algorithm(config), book, eyes)
    app: Any = App(config, shards, algorithm)
    clients = grid(app, shards.num_clients, run_config(config, shards), num_threads)
    run_folder = Path(tempfile.mkdtemp(dir=folder))
    try:
        server_app.serve(clients, config, shards, RunWriter(run_folder), Silent(), algorithm)
    except FederationError as error:
        raise Broken(f"training fails: {error}") from error
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
