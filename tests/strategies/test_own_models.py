"""Ditto, APFL and pFedSD: clients with a second model of their own, by hand and as limits."""

import math

import pytest
import torch
from test_partly_shared import personal, sigmoid
from toys import make_task, three_parameters

from fedpers.build import build
from fedpers.compose import compose_config
from fedpers.errors import UserError
from strategies.apfl import ALPHA, APFL
from strategies.ditto import Ditto
from strategies.pfedsd import PFedSD


def own(scale: float, a: float, b: float) -> dict[str, torch.Tensor]:
    """A client's memory of its personal model."""
    return {"personal/base.weight": torch.tensor([scale]), "personal/head.weight": torch.tensor([[a], [b]])}


def numbers(state: dict[str, torch.Tensor], prefix: str = "") -> list[float]:
    return [*state[f"{prefix}base.weight"].tolist(), *state[f"{prefix}head.weight"].flatten().tolist()]


# w_t: scale 2, head (0, 0), so that w's step leads to head (1, -1), scale 2; see test_partly_shared.py.


def test_ditto_by_hand() -> None:
    client = Ditto(lambda_prox=0.4)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(2.0, 0.5, -0.5)))
    assert numbers(update.send) == pytest.approx([2, 1, -1])
    # v: logits (1, -1), p = sigmoid(2); the head by 2 (1 - p) - 0.4 * 0.5, the scale by (1 - p) - 0.4 * 0
    r = 1 - sigmoid(2)
    assert numbers(update.keep, "personal/") == pytest.approx([2 + r, 0.5 + 2 * r - 0.2, -0.5 - 2 * r + 0.2])
    assert update.metrics == {
        "loss": pytest.approx(-math.log(sigmoid(2)) + 0.2 * 0.5),
        "shared_loss": pytest.approx(math.log(2)),
    }


def test_ditto_uses_its_own_model_or_the_global_one() -> None:
    client = Ditto(lambda_prox=0.4)
    model = client.personalize(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(3.0, 4.0, 5.0)))
    assert numbers(model.tensors()) == [3, 4, 5]
    assert numbers(client.personalize(make_task(three_parameters(2.0), client, [[1.0]], [0])).tensors()) == [2, 0, 0]


def test_ditto_is_fedavg_and_with_lambda_zero_local(federate) -> None:
    run = federate("strategy=ditto", "strategy.lambda_prox=0").scores
    shared = run[run.model == "global"].reset_index(drop=True)
    average = federate("strategy=fedavg").scores
    assert shared.equals(average[average.model == "global"].reset_index(drop=True))
    alone = federate("strategy=local").scores
    assert run[run.model == "personal"].reset_index(drop=True).equals(alone)
    held = federate("strategy=ditto", "strategy.lambda_prox=1").scores
    assert held[held.model == "global"].reset_index(drop=True).equals(shared)
    assert not held[held.model == "personal"].reset_index(drop=True).equals(alone)


def test_apfl_by_hand() -> None:
    client = APFL(alpha=0.25, adaptive=False)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(2.0, 1.0, -1.0)))
    assert numbers(update.send) == pytest.approx([2, 1, -1])
    # mixture: scale 2, head (1/4, -1/4), logits (1/2, -1/2), p = sigmoid(1); v moves by a quarter of its gradient
    r = 1 - sigmoid(1)
    moved = [2 + 0.25 * 0.5 * r, 1 + 0.25 * 2 * r, -1 - 0.25 * 2 * r]
    assert numbers(update.keep, "personal/") == pytest.approx(moved)
    assert update.keep[ALPHA].tolist() == [0.25]
    assert update.metrics["alpha"] == 0.25


def test_apfl_learns_its_share() -> None:
    """alpha - lr <v - w, gradient>, where v - w = (0, 1, -1), the gradient is (..., -2 r, 2 r), lr 0.1."""
    client = APFL(alpha=0.25, adaptive=True)
    task = make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(2.0, 1.0, -1.0), lr=0.1)
    alpha = 0.25 + 0.1 * 4 * (1 - sigmoid(1))
    assert client.train(task).keep[ALPHA].tolist() == pytest.approx([alpha])
    remembered = {**own(2.0, 1.0, -1.0), ALPHA: torch.tensor([0.5])}
    task = make_task(three_parameters(2.0), client, [[1.0]], [0], state=remembered, lr=0.1)
    assert client.train(task).keep[ALPHA].tolist() == pytest.approx([0.5 + 0.1 * 4 * (1 - sigmoid(2))])
    task = make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(2.0, 1.0, -1.0), lr=100.0)
    assert client.train(task).keep[ALPHA].tolist() == [1.0]


def test_apfl_mixes_without_overwriting() -> None:
    """The trap: what is kept is v, not the mixture."""
    client = APFL(alpha=0.25, adaptive=False)
    state = {**own(6.0, 4.0, -4.0), ALPHA: torch.tensor([0.25])}
    model = client.personalize(make_task(three_parameters(2.0), client, [[1.0]], [0], state=state))
    assert numbers(model.tensors()) == [3, 1, -1]
    assert numbers(state, "personal/") == [6, 4, -4]


@pytest.mark.parametrize(("alpha", "limit"), [(1.0, "local"), (0.0, "fedavg")])
def test_apfl_at_its_ends(alpha: float, limit: str, federate) -> None:
    mixed = personal(federate("strategy=apfl", f"strategy.alpha={alpha}", "strategy.adaptive=false"))
    other = personal(federate(f"strategy={limit}"))
    assert mixed.drop(columns="loss").equals(other.drop(columns="loss"))
    assert mixed.loss.to_numpy() == pytest.approx(other.loss.to_numpy(), abs=1e-6)


def test_apfl_global_model_is_fedavgs(federate) -> None:
    run, average = federate("strategy=apfl").scores, federate("strategy=fedavg").scores
    shared = [table[table.model == "global"].reset_index(drop=True) for table in (run, average)]
    assert shared[0].equals(shared[1])


def test_pfedsd_by_hand() -> None:
    """T = 1: the logits' gradient is (p - 1) + lambda (p - t), p = 1/2, t = sigmoid(2) of the past logits (1, -1)."""
    client = PFedSD(lambda_kd=0.4, temperature=1.0)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(2.0, 0.5, -0.5)))
    t = sigmoid(2)
    pull = 2 * (0.5 + 0.4 * (t - 0.5))  # the scale, 2, times what the logits are pulled by
    assert numbers(update.send) == pytest.approx([2, pull, -pull])
    assert numbers(update.keep, "personal/") == numbers(update.send)
    divergence = t * math.log(2 * t) + (1 - t) * math.log(2 * (1 - t))
    assert update.metrics["loss"] == pytest.approx(math.log(2) + 0.4 * divergence)


def test_pfedsd_temperature() -> None:
    """The gradient of T^2 KL at temperature T is T (p - t), with both softened."""
    client = PFedSD(lambda_kd=0.4, temperature=2.0)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(2.0, 0.5, -0.5)))
    pull = 2 * (0.5 + 0.4 * 2 * (sigmoid(1) - 0.5))
    assert numbers(update.send) == pytest.approx([2, pull, -pull])


def test_pfedsd_without_distillation_is_fedavg_scored_after_training(federate) -> None:
    run = federate("strategy=pfedsd", "strategy.lambda_kd=0").scores
    average = federate("strategy=fedavg").scores
    shared = [table[table.model == "global"].reset_index(drop=True) for table in (run, average)]
    assert shared[0].equals(shared[1])
    # what FedAvg's clients hold after local training from the model of the round before
    first = run[(run.model == "personal") & (run["round"] == 1)].drop(columns="round").reset_index(drop=True)
    alone = federate("strategy=local", "rounds=1").scores.drop(columns="round").reset_index(drop=True)
    assert first.equals(alone)


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [
        ("ditto", "lambda_prox", -1.0),
        ("apfl", "alpha", 1.5),
        ("pfedsd", "lambda_kd", -1.0),
        ("pfedsd", "temperature", 0.0),
    ],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        build(compose_config([f"strategy={strategy}"]).strategy | {key: value}, "strategy")
