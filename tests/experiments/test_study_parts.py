"""The parts of studies against hand-worked cases: tuning, intervals, targets, the command line."""

import dataclasses
import importlib
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments import ablation, convergence, tuning
from experiments.outcome import Outcome, at_quarter, estimate
from experiments.scales import LOCAL
from experiments.study import Arm, Condition, main, merge, read
from fedpers.compose import compose_config
from fedpers.config import Config
from fedpers.errors import UserError
from fedpers.results import Run

# numbers by hand


def write_run(folder: Path, val: float, test: float, curve: tuple[float, ...] = (), rounds: int = 4) -> Run:
    """Write what a run leaves behind, as far as studies look at it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(Config(rounds=rounds))))
    last = {split: {"personal": {"mean": value}} for split, value in (("val", val), ("test", test))}
    (folder / "summary.json").write_text(json.dumps({"last": last, "num_failures": 0}))
    return Run(folder)


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


def test_confidence_interval_by_hand() -> None:
    found = estimate({0: 80.0, 1: 82.0, 2: 87.0})
    assert found is not None
    assert found.mean == pytest.approx(83)
    # deviations -3, -1, 4: s = sqrt(26 / 2) = 3.60555; t(0.975, 2) = 4.30265; 4.30265 * 3.60555 / sqrt(3) = 8.95671
    assert found.half == pytest.approx(8.95671, abs=1e-4)
    single = estimate({0: 80.0})
    assert single is not None
    assert (single.half, single.high) == (None, math.inf)
    assert estimate({}) is None


def test_targets_and_when_they_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = {0: pd.Series([10.0, 50.0, 40.0], [2, 4, 6]), 1: pd.Series([10.0, 20.0, 30.0], [2, 4, 6])}
    outcome = Outcome(LOCAL, Condition(""), (), {0: "run", 1: "run"})  # type: ignore[dict-item]
    outcome.__dict__["curves"] = curves
    sent = pd.Series([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], range(1, 7))
    monkeypatch.setattr(convergence, "cumulative_megabytes", lambda run: sent)
    assert convergence.reached(outcome, 20.0) == {0: (4.0, 4.0), 1: (4.0, 4.0)}
    assert convergence.reached(outcome, 25.0) == {0: (4.0, 4.0), 1: (6.0, 6.0)}
    assert convergence.reached(outcome, 45.0) == {0: (4.0, 4.0)}


def test_a_quarter_of_the_rounds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0.0, 0.0, rounds=10)  # a quarter is 2.5 rounds: after the third
    assert at_quarter(run, pd.Series([1.0, 2.0, 3.0, 4.0], [1, 2, 3, 4])) == 3
    assert at_quarter(run, pd.Series([1.0, 2.0], [2, 4])) == 1
    assert at_quarter(run, pd.Series([1.0, 2.0], [5, 10])) == 1  # nothing earlier was scored


# the command line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scale=smok"], "unknown scale 'smok'. Did you mean 'smoke'? Accepted: laptop, paper, smoke"),
        (["scle=smoke"], "unknown key 'scle'. Did you mean 'scale'?"),
        (["rouns=3"], "unknown key 'rouns'. Did you mean 'rounds'?"),
        (["model.hiden=[3]"], "Did you mean 'hidden'?"),
        (["smoke"], "'smoke' is no override"),
        (["jobs=0"], "jobs=0 is not possible. Accepted: a whole number of at least 1"),
        (["out="], "out= names no folder"),
        (["seed=5"], "this study sets seed itself"),
        (["strategy.mu=0.5"], "this study sets strategy.mu itself"),
        (["partition.num_clients=100"], "Accepted: at most 20 clients"),
        (["scale=laptop", "dataset.root=/nowhere"], "/nowhere"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], told: str, tmp_path: Path, cache: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(ablation.STUDY, [f"cache={cache}", *arguments]) == 2
    output = capsys.readouterr()
    assert told in output.err
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []


def test_help_says_what_there_is(capsys: Any) -> None:
    assert main(convergence.STUDY, ["--help"]) == 0
    text = capsys.readouterr().out
    assert "python -m experiments.convergence [scale=smoke|laptop|paper]" in text
    assert "runs/experiments/comparison-SCALE" in text
    assert "FedD2S, own heads" in text


def test_default_folders_and_the_command() -> None:
    options = read(ablation.STUDY, ["scale=laptop", "jobs=2", "dataset.root=my data"])
    assert (options.scale, options.jobs) == ("laptop", 2)
    assert options.folder == Path("experiments/results/ablation-laptop")
    assert options.runs == Path("runs/experiments/ablation-laptop")
    assert options.command == "python -m experiments.ablation scale=laptop jobs=2 'dataset.root=my data'"
    assert read(convergence.STUDY, []).runs == Path("runs/experiments/comparison-smoke")
    assert read(convergence.STUDY, ["out=x"]).runs == Path("x/runs")


def test_later_overrides_replace_earlier_ones() -> None:
    assert merge(("a=1", "b=2"), ("a=3",)) == ("a=3", "b=2")
    assert Arm("x", ()).column == "personal"


@pytest.mark.parametrize("name", ["comparison", "heterogeneity", "participation_ratio", "dropping_set", "ablation"])
def test_laptop_runs_have_few_samples(name: str) -> None:
    scale = importlib.import_module(f"experiments.{name}").STUDY.scales["laptop"]
    for condition in scale.conditions:
        joined = merge(scale.common, condition.overrides)
        assert {"partition=inner_dirichlet", "partition.samples_per_client=180", "splits=[0.34,0.33,0.33]"} <= set(
            joined
        )
