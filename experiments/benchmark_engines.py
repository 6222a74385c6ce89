"""How fast are the engines, beside a bare PyTorch loop that makes the same SGD steps?

    python -m experiments.benchmark_engines [repeats=N] [rounds=N] [clients=N,N,...] [out=DIR] [data=DIR]

Three workloads (W1: cross-device FedAvg, W2: many tiny clients, W3: FedD2S on writers; see
experiments/benchmark/workloads.py), every engine in fresh processes, repeats interleaved; medians, ratios beside their
targets, start-up, peak memory; what the server and scoring take of a round; how seconds a round grow with sampled
clients and with all clients. Writes benchmark_engines.md, .json and a figure.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmark import report
from experiments.benchmark.measure import Subject, Timing, run
from experiments.benchmark.workloads import W2, WORKLOADS, Workload, scaled
from experiments.machinery.jobs import Tally
from fedpers.endings import command, exit_code
from fedpers.errors import FederationError, UserError, unknown_name
from fedpers.run import FAILED, OK, USAGE
from fedpers.scratch import scratch_folder

BARE1, BARE2 = "bare loop, 1 process", "bare loop, 2 processes"
LOCAL1, LOCAL2 = "local, 1 thread", "local, 2 threads"
RAY2, FLOWER = "ray, 2 workers", "flower, simulation"

SCORED = "local, 1 thread, all clients scored"
FEDAVG = ("W1", "W2")

SUBJECTS = (
    Subject(BARE1, bare={"num_processes": 1, "channels_last": True}),
    Subject("bare loop, 1 process, default layout", bare={"num_processes": 1, "channels_last": False}, only=FEDAVG),
    Subject(BARE2, bare={"num_processes": 2, "channels_last": True}),
    Subject(LOCAL1, ("engine=local", "engine.num_threads=1")),
    Subject(SCORED, ("engine=local", "engine.num_threads=1", "eval_every=1"), only=("W3",)),
    Subject(LOCAL2, ("engine=local", "engine.num_threads=2")),
    Subject("ray, 1 worker", ("engine=ray", "engine.num_workers=1"), only=FEDAVG),
    Subject(RAY2, ("engine=ray", "engine.num_workers=2")),
    Subject(FLOWER, ("engine=flower",), rounds=4, only=FEDAVG),
)
TARGETS = (
    report.Target("W1", LOCAL1, BARE1, at_most=1.0),
    report.Target("W2", LOCAL1, BARE1, at_most=1.35),
    report.Target("W3", LOCAL1, BARE1, at_most=1.15),
    report.Target("W1", RAY2, BARE2, at_most=1.0),
    report.Target("W2", RAY2, BARE2, at_most=1.3),
    report.Target("W3", RAY2, BARE2, at_most=1.3),
    report.Target("W2", FLOWER, RAY2, at_least=9.0),
)
SHARES = (
    report.Share("W3", LOCAL1, at_most=0.1),
    report.Share("W3", RAY2, at_most=0.1),
    report.Share("W3", SCORED, without=LOCAL1, at_most=0.1),
)
SAMPLED = (25, 50, 100, 200, 400)
CLIENTS = (1_000, 10_000, 100_000)
LONGER = 2
"""Times as many rounds of W2 as of others: they are short, and the first few read images that no run has read yet."""

DEFAULTS = {"repeats": "3", "rounds": "10", "clients": ",".join(map(str, CLIENTS))}
SUBJECT_OF_SCALING = next(subject for subject in SUBJECTS if subject.name == RAY2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the report and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if {"--help", "-h"} & set(given):
            sys.stdout.write(f"{__doc__}\n")
            return OK
        options = _read(given)
        with scratch_folder("fedpers-benchmark-data-") as scratch:
            found = _measure(options, Path(options["data"]) if options.get("data") else scratch)
        folder = Path(options.get("out") or "experiments/results/benchmark_engines")
        for path in report.write(
            folder, found, TARGETS, SHARES, " ".join(["python -m experiments.benchmark_engines", *given])
        ):
            sys.stdout.write(f"{path}\n")
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return USAGE
    except FederationError as error:
        sys.stderr.write(f"error: {error}\n")
        return FAILED
    except KeyboardInterrupt as error:
        sys.stderr.write("stopped; nothing was written\n")
        return exit_code(error)
    return OK


def _read(arguments: Sequence[str]) -> dict[str, str]:
    options = dict(DEFAULTS)
    for text in arguments:
        key, _, value = text.partition("=")
        if key not in (*DEFAULTS, "out", "data"):
            raise unknown_name("key", key, (*DEFAULTS, "out", "data"))
        options[key] = value
    for key in DEFAULTS:
        if not all(part.isdecimal() and int(part) > 0 for part in options[key].split(",")):
            raise UserError(f"{key}={options[key]} is not possible. Accepted: whole numbers above 0")
    if int(options["rounds"]) < 2:
        raise UserError(f"rounds={options['rounds']} is not possible. Accepted: at least 2, the first is not counted")
    return options


def _measure(options: dict[str, str], data: Path) -> report.Found:
    """Run everything: first each subject once for its memory, then repeats in turn, so that a busy minute hits all."""
    repeats, rounds = int(options["repeats"]), int(options["rounds"])
    clients = [scaled(W2, num_clients=int(number)) for number in options["clients"].split(",")]
    sampled = [scaled(W2, num_sampled=number) for number in SAMPLED]
    startups = [subject for subject in SUBJECTS if subject.name in (LOCAL2, RAY2, FLOWER)]
    found = report.Found(os.cpu_count() or 1, repeats, rounds)
    pairs = [(workload, subject) for workload in WORKLOADS.values() for subject in SUBJECTS if subject.takes(workload)]
    with Tally("benchmark", 1) as tally:
        tally.expect((repeats + 1) * (len(pairs) + len(clients) + len(sampled) + len(startups)))

        def once(subject: Subject, workload: Workload | None, timing: Timing, number: int) -> None:
            start = time.perf_counter()
            name = f"{workload.name}-{workload.num_clients}" if workload else "quickstart"
            count = rounds * (LONGER if workload.name == "W2" else 1) if workload else 2
            run(subject, workload, data / name, count, timing, memory=number == 0)
            tally.ended(f"{subject.name} on {name}", "", time.perf_counter() - start)

        for number in range(repeats + 1):
            for workload, subject in pairs:
                once(subject, workload, found.timings.setdefault((workload.name, subject.name), Timing()), number)
            for workload in clients:
                once(SUBJECT_OF_SCALING, workload, found.by_clients.setdefault(workload.num_clients, Timing()), number)
            for workload in sampled:
                once(SUBJECT_OF_SCALING, workload, found.by_sampled.setdefault(workload.num_sampled, Timing()), number)
            for subject in startups:
                once(subject, None, found.startups.setdefault(subject.name, Timing()), number)
    return found


if __name__ == "__main__":
    command(main)
