"""Ditto: by hand, and FedAvg and Local as its limits."""

import math

import pytest
from by_hand import from_yaml, numbers, own, sigmoid
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.ditto import Ditto

# w_t: scale 2, head (0, 0), so that on x = 1 with label 0 w's step leads to head (1, -1), scale 2.


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


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("ditto", "lambda_prox", -1.0)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml(strategy, **{key: value})
