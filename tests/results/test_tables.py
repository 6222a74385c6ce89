"""The tables of a run: long, wide, and as earlier versions wrote them."""

import dataclasses
import math

import pandas as pd
import pytest
from written import row

from fedpers import results
from fedpers.config.keys import Config
from fedpers.results import Run
from fedpers.results.writer import RunWriter
from fedpers.rows import Row, metric_rank


def test_tables_are_long_and_scores_are_wide(run) -> None:
    assert list(run.metrics.columns) == [
        "round", "client", "model", "split", "num_examples", "metric", "value", "sampled",
    ]  # fmt: skip
    writer = RunWriter(run.folder.parent / "other")
    writer.write_json("config.json", vars(Config()))
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
    writer.write_json("config.json", vars(Config()))
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


def test_metrics_are_sorted_by_name_and_number() -> None:
    names = ["class/10", "auc", "loss", "class/9", "accuracy", "class"]
    assert sorted(names, key=metric_rank) == ["accuracy", "loss", "auc", "class", "class/9", "class/10"]
