"""FedAMP: whom the server attends to, a client's step by hand, and Local as its limit."""

import math

import pytest
import torch
from by_hand import Half, federation, from_yaml, numbers
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fedamp import CLOUD, MODEL, FedAMP

# x = 1 with label 0, scale 2, head (0, 0), lr 1: the cross-entropy's gradient is (-1, 1) for the head, 0 for the scale.


def fedamp(**changes: object) -> FedAMP:
    values = {"lambda_prox": 0.4, "attention": "cosine", "sigma": math.log(3), "self_weight": 0.4, "alpha": 1.0}
    return FedAMP(**(values | changes))  # type: ignore[arg-type]


def test_fedamp_attends_to_similar_models() -> None:
    models = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    xi = fedamp().weights(models)
    # cosines 1, 0 make 3 : 1 of the remaining 0.6
    assert xi.flatten().tolist() == pytest.approx([0.4, 0.45, 0.15, 0.45, 0.4, 0.15, 0.3, 0.3, 0.4])
    xi = fedamp(attention="distance", sigma=1.0).weights(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert xi.flatten().tolist() == pytest.approx([1 - 1 / math.e, 1 / math.e, 1 / math.e, 1 - 1 / math.e])
    greedy = fedamp(attention="distance", sigma=1.0, alpha=10.0)
    assert greedy.weights(torch.tensor([[0.0], [1.0]])).tolist() == [[0, 1], [1, 0]]
    assert fedamp().weights(torch.ones(1, 3)).tolist() == [[1]]


def test_fedamp_server_mixes_the_last_models() -> None:
    server = Half(fedamp(attention="distance", sigma=1.0, alpha=1.0).server(federation(num_clients=3)))
    assert server.send_to(0, 1) == {}
    server.aggregate(1, {0: {MODEL + "w": torch.tensor([0.0])}, 2: {MODEL + "w": torch.tensor([5.0])}})
    assert server.send_to(1, 2) == {}
    server.aggregate(2, {0: {MODEL + "w": torch.tensor([4.0])}})  # client 2's 5.0 stands
    assert server.send_to(0, 3)[CLOUD + "w"].tolist() == pytest.approx([4 + 1 / math.e])
    assert server.send_to(2, 3)[CLOUD + "w"].tolist() == pytest.approx([5 - 1 / math.e])
    assert server.send_to(2, 3, "score") == {}


def test_fedamp_is_held_near_the_mixture() -> None:
    received = {CLOUD + "base.weight": torch.tensor([3.0]), CLOUD + "head.weight": torch.tensor([[0.5], [-0.5]])}
    client = fedamp()
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], received=received))
    assert numbers(update.keep) == pytest.approx([2.4, 1.2, -1.2])
    assert numbers(update.send, MODEL) == numbers(update.keep)
    assert update.metrics["loss"] == pytest.approx(math.log(2) + 0.2 * 1.5)


def test_fedamp_with_lambda_zero_is_local(federate) -> None:
    alone = federate("strategy=local").scores
    assert federate("strategy=fedamp", "strategy.lambda_prox=0").scores.equals(alone)
    assert not federate("strategy=fedamp", "strategy.lambda_prox=1").scores.equals(alone)


def test_fedamp_wants_one_architecture(federate) -> None:
    with pytest.raises(UserError, match="strategy=fedamp mixes clients' weights"):
        federate("strategy=fedamp", "model=mixed")


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [
        ("fedamp", "lambda_prox", -1.0),
        ("fedamp", "sigma", 0.0),
        ("fedamp", "self_weight", 1.5),
        ("fedamp", "alpha", -1.0),
        ("fedamp", "attention", "loud"),
    ],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float | str) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}\W+{value}"):
        from_yaml(strategy, **{key: value})
