"""Runs that have ended: opened, drawn together, or named where they are damaged."""

import shutil

import pandas as pd
import pytest

from fedpers import results
from fedpers.errors import UserError
from fedpers.results import Run


def test_load_is_one_tidy_frame(run, tmp_path) -> None:
    frame = results.load(run.folder)
    assert list(frame.columns[:4]) == ["run", "experiment", "strategy", "seed"]
    assert len(frame) == 12
    assert set(frame.strategy) == {"fedavg"}
    assert set(frame.seed) == {3}
    shutil.copytree(run.folder, tmp_path / "sweep" / "second")
    assert len(results.load([run.folder, tmp_path / "sweep"])) == 24


def test_a_curve_of_any_metric_and_of_none(run) -> None:
    assert run.curve("personal", "test", "loss").empty  # not measured here
    with pytest.raises(UserError, match=r"unknown metric of .*run 'acuracy'. Did you mean 'accuracy'\?"):
        run.curve("personal", "test", "acuracy")


def test_curve_is_rounds_by_clients(run) -> None:
    expected = pd.DataFrame([[0.9, 0.9], [0.4, 0.6], [0.2, 0.6]], index=[1, 2, 3])
    assert (run.curve("personal", "test").to_numpy() == expected.to_numpy()).all()


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
