"""The summary of a run, against numbers worked out by hand."""

import dataclasses
import math

import pytest
from written import row

from fedpers import results
from fedpers.config.keys import Config
from fedpers.results import Run
from fedpers.results.writer import RunWriter


def test_summary_by_hand(run) -> None:
    summary = results.summarize(run)
    last = summary["last"]["test"]["personal"]
    assert last["round"] == 3
    assert last["mean"] == pytest.approx(0.4)
    assert last["weighted"] == pytest.approx((10 * 0.2 + 30 * 0.6) / 40)
    assert last["std"] == pytest.approx(0.2)
    assert (last["worst_10pct"], last["best_10pct"]) == (pytest.approx(0.2), pytest.approx(0.6))
    assert last["jain"] == pytest.approx(0.8**2 / (2 * (0.04 + 0.36)))
    assert last["num_clients"] == 2
    chosen = summary["validation_selected"]
    assert chosen["test"]["personal"]["round"] == 2
    assert chosen["test"]["personal"]["mean"] == pytest.approx(0.5)
    assert chosen["val"]["personal"]["mean"] == pytest.approx(0.8)
    assert summary["best_on_test_not_for_reporting"]["test"]["personal"]["round"] == 1
    assert set(summary["last"]["test"]) == {"personal"}
    assert summary["bytes"] == {"up": {"weights": 300}, "down": {"control": 24}}
    assert summary["client_seconds"] == pytest.approx(1.5)
    assert summary["num_failures"] == 0
    assert summary["diverged"] is None


def test_first_of_equal_rounds_is_selected(tmp_path) -> None:
    writer = RunWriter(tmp_path / "run")
    writer.write_json("config.json", vars(Config()))
    for round in (1, 2):
        writer.write_round(round, [row(round, 0, 0.5, split="val"), row(round, 0, round / 10)], [])
    assert results.summarize(Run(writer.folder))["validation_selected"]["test"]["personal"]["round"] == 1


def test_without_validation_nothing_is_selected(tmp_path) -> None:
    writer = RunWriter(tmp_path / "run")
    writer.write_json("config.json", vars(Config()))
    writer.write_round(1, [row(1, 0, 0.5)], [])
    assert results.summarize(Run(writer.folder))["validation_selected"] == {}


def test_every_other_metric_is_summarized_over_the_clients_that_have_it(tmp_path) -> None:
    writer = RunWriter(tmp_path / "run")
    writer.write_json("config.json", vars(Config()))
    writer.write_json("manifest.json", {"seed": 0, "smaller_is_better": ["loss", "brier"]})
    values = {"auc": (0.5, 0.9), "brier/a": (0.1, 0.3), "loss": (math.nan, 2.0), "void": (math.inf, math.nan)}
    rows = [row(1, client, 0.5, n=10 + 20 * client) for client in (0, 1, 2)]
    rows += [
        dataclasses.replace(rows[client], metric=name, value=pair[client])
        for name, pair in values.items()
        for client in (0, 1)
    ]
    writer.write_round(1, rows, [])
    summary = results.summarize(Run(writer.folder))
    figures = summary["last"]["test"]["personal"]
    assert (figures["mean"], figures["num_clients"]) == (0.5, 3)
    assert list(figures["metrics"]) == ["loss", "auc", "brier/a"]
    expected = {"mean": 0.7, "weighted": (10 * 0.5 + 30 * 0.9) / 40, "std": 0.2, "worst_10pct": 0.5, "num_clients": 2}
    assert figures["metrics"]["auc"] == pytest.approx(expected)
    assert figures["metrics"]["brier/a"]["worst_10pct"] == pytest.approx(0.3)
    assert figures["metrics"]["loss"] == {"mean": 2, "weighted": 2, "std": 0, "worst_10pct": 2, "num_clients": 1}
    assert summary["diverged"] == {"round": 1, "clients": 1}
