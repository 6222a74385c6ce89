"""A run that was written without running it."""

import json

import pytest
from written import entry, row

from fedpers.config.keys import Config
from fedpers.results import Run
from fedpers.results.writer import RunWriter


@pytest.fixture
def run(tmp_path):  # type: ignore[no-untyped-def]
    """Two clients, three rounds: the test accuracy peaks in round 1, validation in round 2."""
    writer = RunWriter(tmp_path / "run")
    writer.write_json(
        "config.json", json.loads(Config(choices={"strategy": "fedavg", "experiment": "e"}, seed=3).to_json())
    )
    accuracies = {1: (0.9, 0.9, 0.1), 2: (0.4, 0.6, 0.8), 3: (0.2, 0.6, 0.7)}  # test of 0, test of 1, validation
    for round, (first, second, val) in accuracies.items():
        rows = [row(round, 0, first, n=10), row(round, 1, second, n=30)]
        rows += [row(round, client, val, split="val", n=5) for client in (0, 1)]
        writer.write_round(
            round, rows, [entry(round, "up", "weights", 100, seconds=0.5), entry(round, "down", "control", 8)]
        )
    return Run(tmp_path / "run")
