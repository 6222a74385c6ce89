"""What studies plan to run: every arm at every scale, tuned alike, under names that tell runs apart."""

import dataclasses
import json
from pathlib import Path

import pytest
from quickly import mostly_slow
from studies import NAMES, study

from experiments.machinery import plan, tuning
from experiments.machinery.jobs import Job
from experiments.machinery.scales import DIGITS
from experiments.machinery.study import Arm, Condition, Scale, merge
from fedpers.config.build import build
from fedpers.config.compose import compose_config
from fedpers.config.identity import identity
from fedpers.config.keys import Config
from fedpers.errors import UserError

QUICK = [name for name in NAMES if name not in ("comparison", "convergence", "fine_tuning")]


@pytest.mark.parametrize("name", mostly_slow(NAMES, QUICK))
@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_every_arm_composes_and_fits_its_model(name: str, scale: str, tmp_path: Path) -> None:
    planned = plan.Plan(study(name).scales[scale], (), tmp_path)
    shapes = {"digits": (1, 8, 8), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32)}
    for (_, arm), config in planned.bases.items():
        model = build(config.model, "model", shape=shapes[config.choices["dataset"]], num_classes=10)
        for setting in tuning.settings(arm):
            build(tuning.with_setting(config, setting).strategy, "strategy").check(model, config)
        assert config.finetune_epochs > 0 or arm.column == "personal"
        assert config.splits[1] > 0 or not planned.scale.tuning_seeds


@pytest.mark.parametrize("name", mostly_slow(NAMES, QUICK))
def test_names_of_runs_are_names_of_folders_and_differ(name: str, tmp_path: Path) -> None:
    planned = plan.Plan(study(name).scales["smoke"], (), tmp_path)
    made: list[Job] = [job for tried in planned.trials().values() for each in tried.values() for job in each]
    made += [job for by_seed in planned.reported({}).values() for job in by_seed.values()]
    configs = {job.name: json.dumps(identity(job.config)) for job in made}
    assert len(set(configs.values())) == len(configs) == len({id(job) for job in made})
    assert all("/" not in name and " " not in name for name in configs)


def test_methods_whose_folders_would_be_one_are_refused(tmp_path: Path) -> None:
    def jobs(*names: str) -> set[str]:
        arms = tuple(Arm(name, (f"strategy={s}",)) for name, s in zip(names, ("fedavg", "fedper"), strict=True))
        planned = plan.Plan(Scale(DIGITS, arms, (Condition(""),), (0,)), (), tmp_path)
        return {job.name for by_seed in planned.reported({}).values() for job in by_seed.values()}

    assert jobs("FedD2S", "FedD2S+") == {"fedd2s,seed=0", "fedd2s-plus,seed=0"}
    with pytest.raises(UserError, match=r"two methods would write to .*a-b,seed=0, one of them 'A/B'"):
        jobs("A B", "A/B")


def test_what_is_composed_once_is_what_composing_each_gives() -> None:
    common = study("dropping_set").scales["laptop"].common
    for own in (
        ("partition=dirichlet", "partition.alpha=0.5", "strategy=fedd2s", "strategy.dropping_set=[3,2,1]"),
        ("strategy=fedd2s", "strategy.heads=own", "strategy.lambda_ce=0", "participation=0.2"),
        ("strategy=fedavg", "finetune_epochs=2", "partition.max_samples=null"),
    ):
        assert plan.compose(common, own) == compose_config(list(merge(common, own)))


def test_what_an_algorithm_needs_is_set_and_told_unless_the_user_has(tmp_path: Path) -> None:
    scale = study("comparison").scales["smoke"]
    scale = dataclasses.replace(scale, arms=tuple(a for a in scale.arms if a.name in ("SCAFFOLD", "FedMD", "FedAvg")))

    def told(*overrides: str) -> dict[str, tuple[Config, tuple[str, ...]]]:
        return {
            arm.name: (config, arm.overrides)
            for (_, arm), config in plan.Plan(scale, overrides, tmp_path).bases.items()
        }

    found = told()
    assert [found[name][0].momentum for name in ("SCAFFOLD", "FedMD", "FedAvg")] == [0, 0.9, 0.9]
    assert found["SCAFFOLD"][1] == ("strategy=scaffold", "momentum=0")
    assert found["FedMD"][1] == ("strategy=fedmd", "public_samples=100")
    assert found["FedMD"][0].public_samples == 100
    assert found["FedAvg"][1] == ("strategy=fedavg",)
    assert told("public_samples=60")["FedMD"][1] == ("strategy=fedmd",)


def test_two_arms_that_read_one_run_share_it(tmp_path: Path) -> None:
    planned = plan.Plan(study("participation_ratio").scales["smoke"], (), tmp_path)
    folders = [jobs[0].folder for (_, arm), jobs in planned.reported({}).items() if arm.name.startswith("FedAvg")]
    assert len(folders) == 4
    assert len(set(folders)) == 2  # one for each condition


@pytest.mark.slow
def test_convergence_tunes_with_the_comparison_and_overwrites_none_of_its_runs(tmp_path: Path) -> None:
    ours, theirs = (plan.Plan(study(name).scales["laptop"], (), tmp_path) for name in ("convergence", "comparison"))
    trials = [
        {job.name: job.config for tried in each.trials().values() for made in tried.values() for job in made}
        for each in (ours, theirs)
    ]
    assert trials[0].items() <= trials[1].items()
    names = [{job.name for jobs in each.reported({}).values() for job in jobs.values()} for each in (ours, theirs)]
    assert not names[0] & names[1]
