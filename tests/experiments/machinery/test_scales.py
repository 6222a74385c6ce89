"""What studies compare: every strategy, tuned alike, on few samples at scale laptop."""

import importlib

import pytest
from studies import study

from experiments.machinery.scales import methods
from experiments.machinery.study import merge
from fedpers.config.compose import group_choices


def test_every_strategy_is_in_the_comparison_with_equally_many_settings() -> None:
    strategies = {text for arm in methods((0.1,)) for text in arm.overrides if text.startswith("strategy=")}
    left_out = {name for name in group_choices("strategy") if name.startswith("flower_")} | {"fedbn"}
    assert strategies == {f"strategy={name}" for name in set(group_choices("strategy")) - left_out}
    for scale in study("comparison").scales.values():
        grids = [dict(arm.grid) for arm in scale.arms]
        assert len({grid["lr"] for grid in grids}) == 1
        assert len({len(values) for grid in grids for key, values in grid.items() if key != "lr"}) == 1


@pytest.mark.parametrize("name", ["comparison", "heterogeneity", "participation_ratio", "dropping_set", "ablation"])
def test_laptop_runs_have_few_samples(name: str) -> None:
    scale = importlib.import_module(f"experiments.{name}").STUDY.scales["laptop"]
    for condition in scale.conditions:
        joined = merge(scale.common, condition.overrides)
        assert {"partition=inner_dirichlet", "partition.samples_per_client=180", "splits=[0.34,0.33,0.33]"} <= set(
            joined
        )
