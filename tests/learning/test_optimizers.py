"""Optimizers by name: they move weights as PyTorch says, and remember what they are told to, nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from by_hand import numbers
from federations import metric_files
from toys import make_task, three_parameters

from fedpers.checkpoint import read
from fedpers.config.compose import compose_config
from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.learning.optimizers import NAMES, Optimizer, remembered, remind
from fedpers.learning.recipe import Recipe
from fedpers.results import Run
from strategies.fedavg import FedAvg

Federate = Callable[..., Run]


def trained(
    recipe: Recipe, state: dict[str, torch.Tensor], **changes: Any
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Take one step on two samples; return the parameters and what is remembered."""
    task = make_task(three_parameters(1.0), FedAvg(), [[1.0], [2.0]], [0, 1], state=state, **changes)
    task.__dict__["recipe"] = recipe
    task.fit()
    return numbers(task.model.state_dict()), task.remembered


def test_it_moves_weights_as_pytorchs_does() -> None:
    model = three_parameters(1.0)
    reference = torch.optim.AdamW(model.parameters(), lr=0.5, weight_decay=0.25, betas=(0.5, 0.75))
    loss = torch.nn.functional.cross_entropy(model(torch.tensor([[1.0], [2.0]])), torch.tensor([0, 1]))
    loss.backward()
    reference.step()
    recipe = Recipe(Optimizer("AdamW", keys={"betas": [0.5, 0.75]}))
    found, memory = trained(recipe, {}, lr=0.5, weight_decay=0.25)
    assert found == pytest.approx(numbers(model.state_dict()), rel=1e-6)
    assert memory == {}


def test_momentum_goes_on_where_it_is_kept() -> None:
    """With momentum 0.5 the second training begins with half of the first's step, by hand."""
    recipe = Recipe(Optimizer("SGD", keep=True))
    first, memory = trained(recipe, {}, lr=0.5, momentum=0.5)
    assert sorted(memory) == ["optimizer/train/0/0/momentum_buffer", "optimizer/train/0/1/momentum_buffer"]
    again, _ = trained(recipe, memory, lr=0.5, momentum=0.5)
    start = numbers(three_parameters(1.0).state_dict())
    step = [new - old for new, old in zip(first, start, strict=True)]
    assert [new - old for new, old in zip(again, start, strict=True)] == pytest.approx([1.5 * each for each in step])


def test_each_training_of_a_round_remembers_its_own() -> None:
    task = make_task(three_parameters(1.0), FedAvg(), [[1.0]], [0])
    task.__dict__["recipe"] = Recipe(Optimizer("Adam", keep=True))
    for purpose in ("train", "train", "head"):
        task.fit(purpose=purpose)
    assert {key.rpartition("/")[0].rpartition("/")[0] for key in task.remembered} == {
        "optimizer/train/0",
        "optimizer/train/1",
        "optimizer/head/0",
    }


def test_what_was_remembered_of_other_shapes_is_left() -> None:
    small, large = (torch.optim.Adam([torch.zeros(size, requires_grad=True)], lr=0.1) for size in (2, 3))
    for optimizer in (small, large):
        (parameter,) = optimizer.param_groups[0]["params"]
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    memory = remembered(small, "x/")
    fresh = torch.optim.Adam([torch.zeros(3, requires_grad=True)], lr=0.1)
    remind(fresh, memory, "x/")
    assert not fresh.state
    remind(fresh, remembered(large, "x/"), "x/")
    assert {key: value.tolist() for key, value in remembered(fresh, "y/").items()} == {
        key.replace("x/", "y/"): value.tolist() for key, value in remembered(large, "x/").items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_one_of_pytorchs_trains_and_goes_on(name: str) -> None:
    recipe = Recipe(Optimizer(name, keep=True))
    first, memory = trained(recipe, {}, lr=0.1)
    assert first != numbers(three_parameters(1.0).state_dict())
    again, _ = trained(recipe, memory, lr=0.1)
    assert all(torch.isfinite(torch.tensor(again)))


KEPT = ("optimizer=adam", "optimizer.keep=true", "lr=0.01")


def test_what_is_kept_is_the_clients_memory(federate: Federate) -> None:
    fresh = federate("strategy=fedper", "optimizer=adam", "lr=0.01")
    kept = federate("strategy=fedper", *KEPT, "checkpoint_every=1")
    first, second = (metric_files(run) for run in (fresh, kept))
    assert first["round-00001.parquet"] == second["round-00001.parquet"]
    assert first["round-00002.parquet"] != second["round-00002.parquet"]
    snapshot = read(kept.folder)
    assert snapshot is not None
    assert {key.partition("/")[0] for key in snapshot.memories[0]} == {"head.weight", "head.bias", "optimizer"}
    assert kept.summary["bytes"] == fresh.summary["bytes"]  # it never leaves the client


def test_it_is_the_same_after_a_resume_and_on_other_threads(cli, federate: Federate) -> None:  # type: ignore[no-untyped-def]
    words = ("strategy=ditto", *KEPT, "eval_every=1")
    assert metric_files(federate(*words)) == metric_files(federate(*words, "engine.num_threads=2"))
    assert (
        cli("dataset=digits", "partition=iid", "partition.num_clients=3", *words, "rounds=3", "out=a", "quiet=true")[0]
        == 0
    )
    assert (
        cli("dataset=digits", "partition=iid", "partition.num_clients=3", *words, "rounds=2", "out=b", "quiet=true")[0]
        == 0
    )
    assert cli("resume=b", "rounds=3")[0] == 0
    assert metric_files(Run("a")) == metric_files(Run("b"))


def test_keys_that_it_does_not_have_are_said(cli) -> None:  # type: ignore[no-untyped-def]
    assert Optimizer("Adam").without_effect(Config(momentum=0.5, weight_decay=0.1)) == ["momentum"]
    assert Optimizer("SGD").without_effect(Config(momentum=0.5)) == []


MISTAKES = {
    "name": (["optimizer=torch", "optimizer.name=Adm"], "unknown optimizer.name 'Adm'. Did you mean 'Adam'?"),
    "unfit": (["optimizer=torch", "optimizer.name=LBFGS"], "unknown optimizer.name 'LBFGS'"),
    "key": (["optimizer=adam", "+optimizer.keys.beta=1"], "unknown key in optimizer.keys: Adam has no 'beta'"),
    "ours": (["optimizer=adam", "+optimizer.keys.lr=1"], "unknown key in optimizer.keys: Adam has no 'lr'"),
    "value": (["optimizer=adam", "+optimizer.keys.betas=[2,2]"], "optimizer.name=Adam refuses its keys (Invalid beta"),
    "scaffold": (["strategy=scaffold", "optimizer=adam"], "strategy=scaffold with optimizer=adam is not possible"),
    "steps": (
        ["strategy=scaffold", "accumulate=2"],
        "strategy=scaffold with accumulate=2 is not possible. Accepted: 1",
    ),
    "accumulate": (["accumulate=0"], "accumulate=0 is not possible. Accepted: a whole number of at least 1"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named(case: str, federate: Federate) -> None:
    words, message = MISTAKES[case]
    with pytest.raises(UserError) as found:
        federate(*words)
    assert message in str(found.value)


def test_the_usual_one_is_not_built() -> None:
    assert compose_config([]).optimizer == {}
