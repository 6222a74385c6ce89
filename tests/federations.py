"""Small federations for tests, run without the command line."""

from collections.abc import Callable
from pathlib import Path

from flwr.serverapp import Grid

from fedpers import client_app, server_app
from fedpers.build import build
from fedpers.config import Config
from fedpers.progress import Silent
from fedpers.results import Run
from fedpers.writer import RunWriter


def serve(composed: Config, wrap: Callable[[Grid], Grid] = lambda grid: grid) -> Run:
    """Run a federation without the command line."""
    engine = build(composed.engine, "engine", plugins=composed.plugins)
    _, shards = client_app.open_run(composed.to_json())
    folder = Path(str(composed.out))
    server_app.check(composed, shards)
    engine.run(
        composed,
        shards,
        lambda grid: server_app.serve(wrap(grid), composed, shards, RunWriter(folder), Silent()),
        Silent(),
    )
    return Run(folder)
