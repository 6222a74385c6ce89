"""FedProx: by hand, and FedAvg as its limit."""

import math

import pytest
import torch
from by_hand import from_yaml
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fedavg import FedAvg
from strategies.fedprox import FedProx

# x = 1 with label 0, scale 1, head weights (0, 0), lr 1. Step 1 is FedAvg's, as the term is 0: head (1/2, -1/2).
# Step 2: logits (1/2, -1/2), 1 - p_0 = 1 / (1 + e) =: r, dCE/dlogits = (-r, r), dCE/dhead = (-r, r) times h = 1,
# dCE/dscale = head . dlogits = -r. The term pulls the head by mu (1/2, -1/2), and the scale, still 1, not at all:
# head = 1/2 + r - mu/2 and the opposite, scale = 1 + r.
# Step 3 pulls the scale by mu r.
R = 1 / (1 + math.e)


def train(algorithm: FedAvg | FedProx, epochs: int):  # type: ignore[no-untyped-def]
    task = make_task(three_parameters(), algorithm, [[1.0]], [0], local_epochs=epochs)
    return algorithm.train(task)


def test_two_steps_by_hand() -> None:
    update = train(FedProx(mu=0.4), epochs=2)
    assert update.send["head.weight"].flatten().tolist() == pytest.approx([0.3 + R, -0.3 - R])
    assert update.send["base.weight"].tolist() == pytest.approx([1 + R])
    assert update.keep == {}
    # before the second step: CE = -ln p_0 = ln(1 + 1/e), and mu/2 (1/4 + 1/4)
    assert update.metrics == {"loss": pytest.approx(math.log1p(1 / math.e) + 0.1)}


def test_first_step_is_fedavgs() -> None:
    near, free = train(FedProx(mu=5.0), epochs=1), train(FedAvg(), epochs=1)
    assert all(torch.equal(near.send[key], free.send[key]) for key in free.send)
    assert near.metrics == free.metrics


def test_third_step_pulls_the_scale_back() -> None:
    """Whatever the cross-entropy's gradient is at the point after two steps, the term adds mu r to it."""
    head = 0.3 + R
    ce = -2 * head / (1 + math.exp(2 * head * (1 + R)))  # dCE/dscale = head . dlogits
    assert train(FedProx(mu=0.4), epochs=3).send["base.weight"].tolist() == pytest.approx([1 + R - ce - 0.4 * R])


def test_mu_zero_is_fedavg(federate) -> None:
    partly = "participation=0.5"
    nothing = federate("strategy=fedprox", "strategy.mu=0", partly).scores
    assert nothing.equals(federate("strategy=fedavg", partly).scores)
    assert not nothing.equals(federate("strategy=fedprox", "strategy.mu=1", partly).scores)


@pytest.mark.parametrize("policy", ["aggregate", "local"])
def test_batch_norm_is_held_where_it_is_shared(policy: str, federate) -> None:
    run = federate(
        "strategy=fedprox",
        f"batch_norm={policy}",
        "model=resnet18",
        "model.norm=batch",
        "model.width=4",
        "rounds=2",
        "partition.max_samples=60",
    )
    assert run.scores.loss.notna().all()


@pytest.mark.parametrize("mu", [-0.1, float("nan"), "much"])
def test_impossible_value_is_named(mu: object) -> None:
    with pytest.raises(UserError, match=r"strategy\.mu"):
        from_yaml("fedprox", mu=mu)
