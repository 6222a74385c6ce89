"""APFL: by hand, its share, and Local and FedAvg as its ends."""

import pytest
import torch
from by_hand import from_yaml, numbers, own, sigmoid
from federations import personal
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.apfl import ALPHA, APFL

# w_t: scale 2, head (0, 0), so that on x = 1 with label 0 w's step leads to head (1, -1), scale 2.


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


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("apfl", "alpha", 1.5)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml(strategy, **{key: value})
