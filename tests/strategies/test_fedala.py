"""FedALA: what a client mixes into its own model, by hand, and FedAvg as its limit."""

import pytest
import torch
from by_hand import from_yaml, numbers, sigmoid
from federations import personal
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fedala import FedALA

# x = 1 with label 0, scale 2, head (0, 0), lr 1: the cross-entropy's gradient is (-1, 1) for the head, 0 for the scale.


OWN_HEAD = {"personal/head.weight": torch.tensor([[1.0], [-1.0]])}


def fedala(**changes: object) -> FedALA:
    values = {"stages": ("head",), "share": 1.0, "weights_lr": 0.25, "start_epochs": 1}
    return FedALA(**(values | changes))  # type: ignore[arg-type]


def test_fedala_by_hand() -> None:
    """W's gradient is (w_t - w_k) times the head's: (-1)(-1) and (1)(1), so W goes from 1 to 3/4."""
    client = fedala()
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=OWN_HEAD))
    assert update.keep["mixture/head.weight"].flatten().tolist() == [0.75, 0.75]
    r = 1 - sigmoid(1)  # mixed head (1/4, -1/4), logits (1/2, -1/2)
    assert numbers(update.send) == pytest.approx([2 + 0.5 * r, 0.25 + 2 * r, -0.25 - 2 * r])
    assert torch.equal(update.keep["personal/head.weight"], update.send["head.weight"])
    assert "personal/base.weight" not in update.keep
    task = make_task(three_parameters(2.0), client, [[1.0]], [0], state=OWN_HEAD)
    assert numbers(client.personalize(task).tensors()) == [2, 0.25, -0.25]


def test_fedala_starts_longer_than_it_goes_on() -> None:
    remembered = OWN_HEAD | {"mixture/head.weight": torch.full((2, 1), 0.5)}
    for state, epochs in ((OWN_HEAD, 3), (remembered, 1)):
        client, shares = fedala(start_epochs=3), [1.0 if epochs == 3 else 0.5]
        for _ in range(epochs):
            head = 1 - shares[-1]
            shares.append(shares[-1] - 0.25 * 2 * (1 - sigmoid(4 * head)))
        kept = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=state)).keep
        assert kept["mixture/head.weight"].flatten().tolist() == pytest.approx([shares[-1]] * 2)


def test_fedala_keeps_its_weights_between_0_and_1() -> None:
    client = fedala(weights_lr=100.0)
    task = make_task(three_parameters(2.0), client, [[1.0]], [0], state=OWN_HEAD)
    assert numbers(client.personalize(task).tensors()) == [2, 1, -1]


def test_fedala_takes_the_global_model_at_first() -> None:
    client = fedala()
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    assert numbers(update.send) == [2, 1, -1]
    assert not any(key.startswith("mixture/") for key in update.keep)


def test_fedala_draws_its_share() -> None:
    client = fedala(share=0.4)
    task = make_task(three_parameters(2.0), client, [[float(x)] for x in range(10)], [0, 1] * 5)
    assert len(client._drawn(task)) == 4
    assert len(fedala(share=0.01)._drawn(task)) == 1


def test_fedala_without_upper_stages_is_fedavg(federate) -> None:
    average = federate("strategy=fedavg", "participation=0.5")
    assert federate("strategy=fedala", "strategy.stages=[]", "participation=0.5").scores.equals(average.scores)
    assert not personal(federate("strategy=fedala", "participation=0.5")).equals(personal(average))


def test_fedala_names_a_stage_that_is_not_there(federate) -> None:
    with pytest.raises(UserError, match=r"strategy\.stages: 'tail'"):
        federate("strategy=fedala", "strategy.stages=[tail]")


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("fedala", "share", 0.0), ("fedala", "weights_lr", -1.0), ("fedala", "start_epochs", -1)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float | str) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}\W+{value}"):
        from_yaml(strategy, **{key: value})
