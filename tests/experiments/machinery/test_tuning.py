"""Tuning: on validation, of values that exist."""

import dataclasses
from pathlib import Path

import pytest
from studies import write_run

from experiments.machinery import tuning
from fedpers.config.compose import compose_config
from fedpers.errors import UserError


def test_tuning_chooses_on_validation_where_test_disagrees(tmp_path: Path) -> None:
    low, high = (("lr", 0.01),), (("lr", 0.1),)
    tried = {
        low: [write_run(tmp_path / "a", val=0.6, test=0.9), write_run(tmp_path / "b", val=0.6, test=0.95)],
        high: [write_run(tmp_path / "c", val=0.9, test=0.1), write_run(tmp_path / "d", val=0.5, test=0.2)],
    }
    choice = tuning.choose(tried, "personal")
    assert choice.setting == high  # 70 % on validation against 60 %, 15 % on test against 92.5 %
    assert choice.scores == pytest.approx({low: 60.0, high: 70.0})
    assert choice.tried == (low, high)


def test_of_equal_settings_the_first_is_chosen_and_failures_are_passed_over(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", val=0.5, test=0.5)
    names: list[tuple[tuple[str, float], ...]] = [(("lr", value),) for value in (1.0, 2.0, 3.0)]
    assert tuning.choose({names[0]: [], names[1]: [run], names[2]: [run]}, "personal").setting == names[1]
    assert tuning.choose({name: [] for name in names}, "personal").setting == names[0]


def test_a_setting_changes_values_and_nothing_else() -> None:
    config = compose_config(["strategy=fedprox"])
    changed = tuning.with_setting(config, (("lr", 0.5), ("strategy.mu", 7.0)))
    assert (changed.lr, changed.strategy["mu"]) == (0.5, 7.0)
    assert dataclasses.replace(changed, lr=config.lr, strategy=config.strategy) == config
    with pytest.raises(UserError, match=r"strategy\.nu.*Did you mean 'strategy\.mu'"):
        tuning.with_setting(config, (("strategy.nu", 1.0),))
