"""FedNTD: by hand, and FedAvg as its limit."""

import math

import pytest
import torch
from by_hand import from_yaml, numbers
from torch import nn
from toys import Scale, make_task, three_parameters

from fedpers.errors import UserError
from fedpers.models.staged import Staged
from fedpers.training import Batch
from strategies.fedntd import FedNTD, not_true


def three_classes(*weights: float) -> Staged:
    head = nn.Linear(1, 3, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(weights)[:, None])
    return Staged({"base": Scale(1.0), "head": head})


def test_fedntd_leaves_the_true_class_out() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert not_true(logits, torch.tensor([1, 0])).tolist() == [[1, 3], [5, 6]]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_fedntd_by_hand(temperature: float) -> None:
    """Teacher (0, T ln 2, 0): of the others 2/3 and 1/3. The student knows nothing: 1/2 and 1/2."""
    client, teacher = FedNTD(beta=0.6, temperature=temperature), three_classes(0, temperature * math.log(2), 0)
    objective = client._objective(make_task(teacher, client, [[1.0]], [0]))
    student = three_classes(0, 0, 0)
    loss = objective(student, Batch(torch.ones(1, 1), torch.tensor([0]), torch.tensor([0])))
    divergence = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert loss.item() == pytest.approx(math.log(3) + 0.6 * temperature**2 * divergence)
    loss.backward()
    pull = 0.6 * temperature / 6
    gradient = student.get_parameter("head.weight").grad
    assert gradient is not None
    assert gradient.flatten().tolist() == pytest.approx([-2 / 3, 1 / 3 - pull, 1 / 3 + pull])


def test_fedntd_has_nothing_to_say_about_two_classes() -> None:
    client = FedNTD(beta=5.0, temperature=1.0)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    assert numbers(update.send) == [2, 1, -1]


def test_fedntd_with_beta_zero_is_fedavg(federate) -> None:
    average = federate("strategy=fedavg").scores
    assert federate("strategy=fedntd", "strategy.beta=0").scores.equals(average)
    assert not federate("strategy=fedntd").scores.equals(average)


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("fedntd", "beta", -1.0), ("fedntd", "temperature", 0.0)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml(strategy, **{key: value})
