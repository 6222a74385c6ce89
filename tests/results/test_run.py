"""The run directory: what is written, what is read, and the summary against numbers worked out by hand."""

import dataclasses
import json
import math
import shutil

import pandas as pd
import pytest

from fedpers import results
from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.results import Run
from fedpers.results.tables import Entry, Row, metric_rank
from fedpers.results.writer import RunWriter


def row(round: int, client: int, accuracy: float, *, split: str = "test", n: int = 10, model: str = "personal") -> Row:
    return Row(round, client, model, split, n, "accuracy", accuracy, sampled=True)


def entry(round: int, direction: str, kind: str, size: int, **changes: object) -> Entry:
    return Entry(round, str(changes.pop("phase", "train")), 0, direction, kind, size, **changes)  # type: ignore[arg-type]


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
    writer.write_json("config.json", {})
    for round in (1, 2):
        writer.write_round(round, [row(round, 0, 0.5, split="val"), row(round, 0, round / 10)], [])
    assert results.summarize(Run(writer.folder))["validation_selected"]["test"]["personal"]["round"] == 1


def test_without_validation_nothing_is_selected(tmp_path) -> None:
    writer = RunWriter(tmp_path / "run")
    writer.write_json("config.json", {})
    writer.write_round(1, [row(1, 0, 0.5)], [])
    assert results.summarize(Run(writer.folder))["validation_selected"] == {}


def test_load_is_one_tidy_frame(run, tmp_path) -> None:
    frame = results.load(run.folder)
    assert list(frame.columns[:4]) == ["run", "experiment", "strategy", "seed"]
    assert len(frame) == 12
    assert set(frame.strategy) == {"fedavg"}
    assert set(frame.seed) == {3}
    shutil.copytree(run.folder, tmp_path / "sweep" / "second")
    assert len(results.load([run.folder, tmp_path / "sweep"])) == 24


def test_tables_are_long_and_scores_are_wide(run) -> None:
    assert list(run.metrics.columns) == [
        "round", "client", "model", "split", "num_examples", "metric", "value", "sampled",
    ]  # fmt: skip
    writer = RunWriter(run.folder.parent / "other")
    writer.write_json("config.json", {})
    rows = [dataclasses.replace(row(1, 0, 0.5), metric=name, value=value) for name, value in (("auc", 0.7),)]
    writer.write_round(1, [row(1, 1, 0.25, split="val"), row(1, 0, 0.5), *rows], [])
    scores = Run(writer.folder).scores
    assert list(scores.columns) == ["round", "client", "model", "split", "num_examples", "sampled", "accuracy", "auc"]
    assert scores.client.tolist() == [1, 0]  # in the table's order
    assert scores.accuracy.tolist() == [0.25, 0.5]
    assert scores.auc.isna().tolist() == [True, False]
    assert scores.auc[1] == 0.7


def test_runs_of_earlier_versions_are_read_in_long_form(tmp_path) -> None:
    """They had a row for each round, client, model and split, and a column for either metric."""
    writer = RunWriter(tmp_path / "run")
    writer.write_json("config.json", {})
    for number in (1, 2):
        wide = {
            "round": [number] * 2,
            "client": [0, 1],
            "model": ["personal"] * 2,
            "split": ["test"] * 2,
            "num_examples": [10, 30],
            "loss": [0.5, math.inf],
            "accuracy": [0.25 * number, 0.75],
            "sampled": [True, False],
        }
        pd.DataFrame(wide).to_parquet(tmp_path / "run" / "metrics" / f"round-0000{number}.parquet")
        writer.write_round(number, [], [])
    run = Run(writer.folder)
    assert run.metrics.drop(columns=["model", "split"]).to_numpy().tolist() == [
        [number, client, n, metric, value, sampled]
        for number in (1, 2)
        for client, n, sampled, accuracy, loss in ((0, 10, True, 0.25 * number, 0.5), (1, 30, False, 0.75, math.inf))
        for metric, value in (("accuracy", accuracy), ("loss", loss))
    ]
    assert run.scores.accuracy.tolist() == [0.25, 0.75, 0.5, 0.75]
    assert results.summarize(run)["last"]["test"]["personal"]["mean"] == pytest.approx(0.625)
    assert results.summarize(run)["diverged"] == {"round": 1, "clients": 1}
    found = results.read_round(run.folder, 2)
    assert found is not None
    assert found[0][1] == Row(2, 0, "personal", "test", 10, "loss", 0.5, True)


def test_every_other_metric_is_summarized_over_the_clients_that_have_it(tmp_path) -> None:
    writer = RunWriter(tmp_path / "run")
    writer.write_json("config.json", {})
    writer.write_json("manifest.json", {"smaller_is_better": ["loss", "brier"]})
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


def test_a_curve_of_any_metric_and_of_none(run) -> None:
    assert run.curve("personal", "test", "loss").empty  # not measured here
    with pytest.raises(UserError, match=r"unknown metric of .*run 'acuracy'. Did you mean 'accuracy'\?"):
        run.curve("personal", "test", "acuracy")


def test_metrics_are_sorted_by_name_and_number() -> None:
    names = ["class/10", "auc", "loss", "class/9", "accuracy", "class"]
    assert sorted(names, key=metric_rank) == ["accuracy", "loss", "auc", "class", "class/9", "class/10"]


def test_curve_is_rounds_by_clients(run) -> None:
    expected = pd.DataFrame([[0.9, 0.9], [0.4, 0.6], [0.2, 0.6]], index=[1, 2, 3])
    assert (run.curve("personal", "test").to_numpy() == expected.to_numpy()).all()


def test_tables_survive_a_stop_between_rounds(run) -> None:
    (run.folder / "metrics" / ".round-00004.parquet").write_bytes(b"half")
    assert run.scores["round"].max() == 3


def test_absent_seconds_and_errors_are_null(tmp_path) -> None:
    writer = RunWriter(tmp_path / "run")
    writer.write_json("config.json", {})
    writer.write_round(1, [], [entry(1, "down", "weights", 4), entry(1, "up", "error", 0, error="no")])
    table = Run(writer.folder).traffic
    assert table.seconds.isna().all()
    assert table.error.isna().tolist() == [True, False]
    assert not list((writer.folder / "metrics").iterdir())


def test_run_directory_is_never_overwritten(tmp_path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(UserError, match=r"not empty.*out=DIR"):
        RunWriter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]


def test_run_directory_under_a_file(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        RunWriter(tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot be written.*out=DIR"):
        RunWriter(tmp_path / "file" / "run")


def test_no_run_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        results.load(tmp_path)
    with pytest.raises(UserError, match=r"config\.json"):
        Run(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "summary.json", "metrics/round-00002.parquet"])
def test_damaged_file_is_named(run, name) -> None:
    (run.folder / name).write_bytes(b"{half")
    opened = Run(run.folder)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        _ = opened.config, opened.scores, opened.summary


def test_run_that_has_not_ended_has_no_summary(run) -> None:
    with pytest.raises(UserError, match=r"summary\.json is missing: the run has not ended"):
        _ = run.summary
