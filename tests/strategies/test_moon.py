"""MOON: by hand, and FedAvg as its limit."""

import math

import pytest
import torch
from by_hand import from_yaml, sigmoid
from torch import nn
from toys import make_task

from fedpers.errors import UserError
from fedpers.models.staged import Staged
from strategies.moon import Moon


def two_values(rows: list[list[float]]) -> Staged:
    base, head = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        base.weight.copy_(torch.tensor(rows))
        head.weight.zero_()
    return Staged({"base": base, "head": head})


def test_moon_by_hand() -> None:
    """z = z_g = (1, 0), z_p = (0, 1): log(1 + e^(-1)); its gradient for z is sigmoid(-1) (0, 1)."""
    client = Moon(mu=0.5, temperature=1.0)
    past = {"personal/base.weight": torch.tensor([[0.0, 1.0], [1.0, 0.0]])}
    task = make_task(two_values([[1.0, 0.0], [0.0, 1.0]]), client, [[1.0, 0.0]], [0], state=past)
    update = client.train(task)
    assert update.metrics["loss"] == pytest.approx(math.log(2) + 0.5 * math.log(1 + math.exp(-1)))
    assert update.send["base.weight"].tolist()[1] == pytest.approx([-0.5 * sigmoid(-1), 1])
    assert update.send["base.weight"].tolist()[0] == pytest.approx([1, 0])
    assert torch.equal(update.keep["personal/base.weight"], update.send["base.weight"])


def test_moon_without_contrast_is_fedavg(federate) -> None:
    nothing = federate("strategy=moon", "strategy.mu=0", "participation=0.5").scores
    assert nothing.equals(federate("strategy=fedavg", "participation=0.5").scores)
    assert not nothing.equals(federate("strategy=moon", "participation=0.5").scores)


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("moon", "mu", -1.0), ("moon", "temperature", 0.0)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml(strategy, **{key: value})
