"""Small federations for tests: what they are made of, how they are run, watched and read."""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pandas as pd
from flwr.app import Message
from flwr.serverapp import Grid

from fedpers import assembly, server_app
from fedpers.assembly import build_algorithm
from fedpers.config.build import build
from fedpers.config.compose import compose_config
from fedpers.config.keys import Config
from fedpers.contract.play import SMALL
from fedpers.engines.local import LocalGrid
from fedpers.progress import Silent
from fedpers.results import Run
from fedpers.results.writer import RunWriter
from fedpers.wire.ledger import Ledger

TINY = [text for text in SMALL if not text.startswith(("engine=", "participation="))]
"""The contract's small federation, all of whose clients train, on the defaults' engine."""

SIZES = {"fedmd": ["strategy.alignment_samples=10"]}
"""Keys of algorithms that are too large for a small federation."""


@cache
def chosen(strategy: str) -> list[str]:
    """Return the overrides that choose a strategy, with what it needs."""
    choice, sizes = f"strategy={strategy}", SIZES.get(strategy, [])
    config = compose_config([choice, *sizes])
    needs = build_algorithm(config).needs(config)
    return [choice, *(f"{key}={value}" for key, value in needs.items()), *sizes]


def serve(composed: Config, wrap: Callable[[Grid], Grid] = lambda grid: grid) -> Run:
    """Run a federation without the command line."""
    engine = build(composed.engine, "engine", plugins=composed.plugins)
    _, shards = assembly.open_run(composed.to_json())
    folder = Path(str(composed.out))
    assembly.check(composed, shards)
    engine.run(
        composed,
        shards,
        lambda grid: server_app.serve(wrap(grid), composed, shards, RunWriter(folder), Silent()),
        Silent(),
    )
    return Run(folder)


class Recorder(Ledger):
    """Remembers all messages and replies of the training phase."""

    def __init__(self, grid: LocalGrid, num_clients: int = 4) -> None:
        super().__init__(grid, {number: number + 1 for number in range(num_clients)})
        self.local = grid
        self.sent: list[Message] = []
        self.replies: list[Message] = []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        sent = list(messages)
        replies = super().send_and_receive(sent, timeout=timeout)
        if sent and sent[0].metadata.message_type == "train":
            self.sent += sent
            self.replies += replies
        return replies


def record(federate: Callable[..., Run], *overrides: str) -> tuple[Recorder, Run]:
    """Run a federation and return what was sent in it."""
    recorders: list[Recorder] = []

    def wrap(grid: Grid) -> Grid:
        recorders.append(Recorder(grid))  # type: ignore[arg-type]
        return recorders[0]

    run = federate(*overrides, wrap=wrap)
    return recorders[0], run


def metric_files(run: Run) -> dict[str, bytes]:
    """Return the bytes of a run's metric tables."""
    return {path.name: path.read_bytes() for path in sorted((run.folder / "metrics").iterdir())}


def tables(folder: str | Path) -> dict[str, bytes]:
    """Return the bytes of a run's tables that hold no times."""
    found = sorted(path for name in ("metrics", "diagnostics") for path in Path(folder, name).iterdir())
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in found}


def personal(run: Run) -> pd.DataFrame:
    """Return the scores of personal models."""
    return run.scores[run.scores.model == "personal"].reset_index(drop=True)
