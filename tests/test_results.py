"""The run directory: what is written, what is read, and the summary against numbers worked out by hand."""

import json
import shutil

import pandas as pd
import pytest

from fedpers import results
from fedpers.config import Config
from fedpers.errors import UserError
from fedpers.results import Run
from fedpers.tables import Entry, Row
from fedpers.writer import RunWriter


def row(round: int, client: int, accuracy: float, *, split: str = "test", n: int = 10, model: str = "personal") -> Row:
    return Row(round, client, model, split, n, loss=1.0, accuracy=accuracy, sampled=True)


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
