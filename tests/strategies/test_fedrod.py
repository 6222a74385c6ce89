"""FedRoD: its two heads and its balanced loss by hand, and what it shares."""

import math

import pytest
import torch
import torch.nn.functional as F
from by_hand import numbers
from federations import personal
from toys import make_task, three_parameters

from strategies.fedrod import FedRoD, balanced_loss


def test_fedrod_by_hand() -> None:
    """Labels 0, 0, 1: the balanced loss expects 2/3 and 1/3 from a head that knows nothing, the plain one 1/2."""
    client = FedRoD()
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]] * 3, [0, 0, 1]))
    assert numbers(update.send) == pytest.approx([2, 0, 0], abs=1e-6)
    assert update.keep["personal/weight"].flatten().tolist() == pytest.approx([1 / 3, -1 / 3])
    assert update.metrics["loss"] == pytest.approx(-(2 * math.log(2 / 3) + math.log(1 / 3)) / 3 + math.log(2))


def test_fedrod_answers_with_both_heads_or_the_generic_one() -> None:
    client, weights = FedRoD(), (0.25, 0.5)
    state = {"personal/weight": torch.tensor([[1.0], [0.0]])}
    model = client.personalize(make_task(three_parameters(2.0, weights), client, [[1.0]], [0], state=state))
    assert model(torch.ones(1, 1)).tolist() == [[0.5 + 2, 1]]
    model = client.personalize(make_task(three_parameters(2.0, weights), client, [[1.0]], [0]))
    assert model(torch.ones(1, 1)).tolist() == [[0.5, 1]]


def test_fedrod_personal_head_moves_nothing_else() -> None:
    """The shared model's step is the same whatever the personal head is."""
    steps = []
    for value in (0.0, 3.0):
        client, state = FedRoD(), {"personal/weight": torch.full((2, 1), value)}
        task = make_task(three_parameters(2.0, (0.3, -0.1)), client, [[1.0], [2.0]], [0, 1], state=state)
        steps.append(numbers(client.train(task).send))
    assert steps[0] == steps[1]


def test_balanced_loss_of_equal_counts_is_the_plain_one() -> None:
    logits, labels = torch.tensor([[1.0, 2.0, 0.5], [0.1, 0.2, 0.3]]), torch.tensor([0, 2])
    equal = balanced_loss(logits, labels, torch.tensor([4, 4, 4]))
    assert equal.item() == pytest.approx(F.cross_entropy(logits, labels).item())
    absent = balanced_loss(logits.requires_grad_(), labels, torch.tensor([1, 0, 1]))
    assert absent.item() == pytest.approx(F.cross_entropy(logits[:, [0, 2]], torch.tensor([0, 1])).item())
    absent.backward()
    assert logits.grad is not None
    assert logits.grad[:, 1].tolist() == [0, 0]


def test_fedrod_shares_what_fedavg_shares(federate) -> None:
    run = federate("strategy=fedrod")
    assert run.summary["bytes"]["up"]["weights"] == federate("strategy=fedavg").summary["bytes"]["up"]["weights"]
    assert not personal(run).equals(run.scores[run.scores.model == "global"].reset_index(drop=True))
