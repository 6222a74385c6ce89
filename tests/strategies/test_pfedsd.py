"""pFedSD: by hand, its temperature, and FedAvg as its limit."""

import math

import pytest
from by_hand import from_yaml, numbers, own, sigmoid
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.pfedsd import PFedSD


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
    [("pfedsd", "lambda_kd", -1.0), ("pfedsd", "temperature", 0.0)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml(strategy, **{key: value})
