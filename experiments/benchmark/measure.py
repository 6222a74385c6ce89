"""Run a subject in a fresh process, several times, and keep its seconds a round, start-up and peak memory."""

import itertools
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from experiments.benchmark.child import describe
from experiments.benchmark.workloads import Workload
from fedpers.errors import FederationError
from fedpers.scratch import scratch_folder

INTERVAL = 0.5
"""Seconds between two looks at the memory, which stop the processes for milliseconds: timed runs are not looked at."""

MEMORY_ROUNDS = 3
"""Rounds of a run whose memory is looked at."""


@dataclass(frozen=True)
class Subject:
    """What is timed on a workload.

    Args:
        name: What tables call it.
        engine: Overrides that choose the engine.
        bare: For the bare loop: `num_processes` and `channels_last`.
        rounds: Rounds of a run; 0 for as many as are asked for. Slow subjects have fewer.
        only: The workloads that it is timed on; empty for all of them.
    """

    name: str
    engine: tuple[str, ...] = ()
    bare: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 0
    only: tuple[str, ...] = ()

    def takes(self, workload: Workload) -> bool:
        """Tell whether it is timed on a workload."""
        return not self.only or workload.name in self.only


@dataclass
class Timing:
    """What repeats of one subject on one workload took.

    Args:
        rounds: Seconds of each round after the first, over all repeats.
        first: Seconds from the end of the imports to the end of the first round, a repeat each.
        peak: Highest memory of all processes together, in bytes.
        server: Seconds of the server half over what clients sent, for each of `rounds`; none where it was not seen.
    """

    rounds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    peak: int = 0
    server: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Median seconds a round."""
        return statistics.median(self.rounds)


def run(
    subject: Subject, workload: Workload | None, data: Path, rounds: int, timing: Timing, *, memory: bool = False
) -> None:
    """Run a subject once and add what it took: with `memory` its peak, otherwise its times. No workload: quickstart.

    Raises:
        FederationError: it failed.
    """
    with scratch_folder("fedpers-benchmark-") as scratch:
        out = scratch / "run"
        task = {
            "workload": describe(workload) if workload else None,
            "data": str(data),
            "rounds": MEMORY_ROUNDS if memory else subject.rounds or rounds,
            "engine": subject.engine,
            "bare": dict(subject.bare),
            "out": str(out),
        }
        command = [sys.executable, "-m", "fedpers", "experiments.benchmark.child", json.dumps(task)]
        errors = scratch / "errors"
        with errors.open("w") as stream:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True)
            peak = _watch(process) if memory else 0
            output, _ = process.communicate()
        if process.returncode:
            last = (errors.read_text().strip().splitlines() or ["no message"])[-1]
            name = workload.name if workload else "quickstart"
            raise FederationError(f"{subject.name} on {name} ended with exit code {process.returncode}: {last}")
        found = json.loads(output.strip().splitlines()[-1])
        shutil.rmtree(out, ignore_errors=True)
    ended: Sequence[float] = found["ended"]
    if memory:
        timing.peak = max(timing.peak, peak)
        return
    timing.first.append(ended[0] - found["start"])
    timing.rounds += [after - before for before, after in itertools.pairwise(ended)]
    timing.server += found.get("server", [])[1:]


def _watch(process: "subprocess.Popen[str]") -> int:
    """Return the highest proportional memory (PSS: shared pages counted once) of a process and all below it."""
    peak = 0
    while process.poll() is None:
        total = 0
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        except psutil.Error:
            break
        for member in family:
            try:
                total += member.memory_full_info().pss
            except psutil.Error:
                continue
        peak = max(peak, total)
        time.sleep(INTERVAL)
    return peak
