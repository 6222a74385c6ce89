"""Runs that earlier versions wrote stay readable, and can be told to be of the same configuration.

`old_runs/0.1.0` was written by version 0.1.0, before a run recorded its code; its pictures were left out:

    python -m fedpers.run strategy=fedd2s dataset=digits partition=dirichlet partition.alpha=1.0
        partition.num_clients=4 partition.max_samples=160 model=mlp model.hidden=[8,6] rounds=3 batch_size=8
        finetune_epochs=1 quiet=true out=runs/fedd2s
"""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.machinery.jobs import Job
from fedpers import results
from fedpers.config.build import build
from fedpers.config.compose import compose_config
from fedpers.config.identity import identity
from fedpers.config.keys import Config
from fedpers.figures import draw
from fedpers.provenance import run_sha256
from fedpers.results import Run, summarize
from plots.groups import group_runs

OLD = Path(__file__).parent / "old_runs" / "0.1.0"
OVERRIDES = [
    "strategy=fedd2s",
    "dataset=digits",
    "partition=dirichlet",
    "partition.alpha=1.0",
    "partition.num_clients=4",
    "partition.max_samples=160",
    "model=mlp",
    "model.hidden=[8,6]",
    "rounds=3",
    "batch_size=8",
    "finetune_epochs=1",
    "lr=0.1",  # from here on, what were the defaults then
    "momentum=0",
    "eval_every=1",
    "strategy.server_batch_size=64",
    "strategy.server_lr=0.001",
]


LATER = {"vote", "share", "trunk", "vote_shift", "trim"}
"""Keys of the algorithm that came later; with them today's is another configuration, whatever their values do."""


def today(*overrides: str) -> Config:
    config = compose_config([*OVERRIDES, *overrides])
    return dataclasses.replace(config, strategy={k: v for k, v in config.strategy.items() if k not in LATER})


def without_others(found: Any) -> Any:
    """Return a summary without what that version did not have: metrics other than accuracy, and of how many clients."""
    if not isinstance(found, dict):
        return found
    return {
        key: without_others(value)
        for key, value in found.items()
        if key not in ("metrics", "of_clients") or (key == "metrics" and isinstance(value, int))
    }


def test_tables_and_summary_are_read() -> None:
    run = Run(OLD)
    assert len(run.scores) == 3 * 4 * 2 * 2  # rounds, clients, personal and finetuned, validation and test
    assert run.metric_names == ["accuracy", "loss"]  # it holds a column for each, which is read in long form
    assert len(run.metrics) == 2 * len(run.scores)
    assert results.load(OLD).strategy.unique().tolist() == ["fedd2s"]
    assert run.label_histogram.sum() == 160
    assert run.curve("personal", "test").loc[3].mean() == run.summary["last"]["test"]["personal"]["mean"]
    assert set(run.traffic.kind) >= {"error"} or run.traffic.bytes.sum() > 0
    assert not run.diagnostics.empty


def test_the_summary_of_its_tables_is_the_one_it_holds() -> None:
    kept = dict(Run(OLD).summary)
    assert kept.pop("seconds") > 0
    assert without_others(json.loads(json.dumps(summarize(Run(OLD))))) == kept


def test_figures_are_drawn_of_it(tmp_path: Path) -> None:
    assert (
        len(draw([Run(OLD)], tmp_path, Run(OLD).config.figures)) == 12
    )  # accuracy and loss, for the two that show metrics


def test_it_is_of_the_configuration_that_the_same_command_gives_today() -> None:
    assert identity(json.loads((OLD / "config.json").read_text())) == identity(today()) == Run(OLD).identity
    assert Run(OLD).identity != identity(today("lr=0.01"))


def test_a_run_of_another_seed_belongs_to_its_curve(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(OLD, other)
    (other / "config.json").write_text(today("seed=1").to_json())
    (group,) = group_runs([Run(OLD), Run(other)])
    assert group.label == "fedd2s (2 seeds)"


@pytest.mark.parametrize("overrides", [[], ["engine=ray", "quiet=true", "cache=elsewhere", "figures=[]"]])
def test_a_study_recognizes_it_and_does_not_know_its_code(overrides: list[str]) -> None:
    config = dataclasses.replace(today(*overrides), out=str(OLD))
    job = Job("old", config, run_sha256(config))
    assert job.code is not None
    assert job.is_done()
    assert job.foreign_code() == "unknown code"
    assert not Job("old", dataclasses.replace(config, lr=0.01), job.code).is_done()


def test_what_its_configuration_names_can_be_built_still() -> None:
    config = Run(OLD).config
    for group in ("dataset", "partition", "shift", "strategy", "engine"):
        build(getattr(config, group), group)
    build(config.model, "model", shape=(1, 8, 8), num_classes=10)
