"""One subject in a process of its own: `python -m experiments.benchmark.child TASK`, JSON in, a line of JSON out.

The clock of start-up begins when everything that this process needs has been imported.
"""

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flwr.app import Message

from experiments.benchmark import bare
from experiments.benchmark.workloads import Workload
from fedpers import server_app
from fedpers.assembly import open_run
from fedpers.config.build import build
from fedpers.engines.ray import engine as ray  # noqa: F401 - imported before the clock starts
from fedpers.progress import Silent
from fedpers.results.writer import RunWriter
from fedpers.rows import Entry, Row
from fedpers.wire.carrier import Carrier


class Clock(Silent):
    """Notes when each round ended."""

    def __init__(self) -> None:
        """Start with no round."""
        self.ended: list[float] = []

    def round_done(self, round: int, rows: list[Row], entries: list[Entry]) -> None:
        """Note the time."""
        self.ended.append(time.time())


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Run a subject and return when it started and when each of its rounds ended, in seconds."""
    out, start = Path(task["out"]), time.time()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    if task["workload"] is None:
        config, shards = open_run(f"rounds={task['rounds']} figures=[] out={out} {' '.join(task['engine'])}")
    else:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in task["workload"].items()}
        workload = Workload(**fields)
        config = workload.config(task["rounds"], out, tuple(task["engine"]))
        shards = workload.shards(Path(task["data"]))
        _read(shards.folder / "pixels.npy")
        start = time.time()
        if task["bare"]:
            return {"start": start, "ended": bare.run(workload, config, shards, **task["bare"])}
    clock = Clock()
    engine = build(config.engine, "engine")
    with stopwatch() as aggregated:
        engine.run(config, shards, lambda grid: server_app.serve(grid, config, shards, RunWriter(out), clock), clock)
    if "flower" in config.engine["_target_"]:  # rounds end in another process: by when they were written
        files = sorted((out / "traffic").glob("round-*.parquet"))
        return {"start": start, "ended": [path.stat().st_mtime for path in files]}
    return {"start": start, "ended": clock.ended, "server": aggregated}


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Measure how long a server half in this process takes over what clients sent: seconds a round."""
    seconds: list[float] = []
    aggregate = Carrier.aggregate_train

    def timed(self: Carrier, server_round: int, replies: Iterable[Message]) -> Any:
        arrived = list(replies)
        start = time.perf_counter()
        found = aggregate(self, server_round, arrived)
        seconds.append(time.perf_counter() - start)
        return found

    with patch.object(Carrier, "aggregate_train", timed):
        yield seconds


def _read(path: Path) -> None:
    """Read a file, so that the operating system has it in memory and no round waits for the disk."""
    with path.open("rb") as file:
        while file.read(2**24):
            pass


def describe(workload: Workload) -> dict[str, Any]:
    """Return a workload as JSON takes it."""
    return dataclasses.asdict(workload)


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(measure(json.loads(sys.argv[1]))) + "\n")
