"""FedNTD, FML and FedRoD: what clients learn besides their labels, by hand and as limits."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_own_models import numbers, own
from test_partly_shared import personal, sigmoid
from torch import nn
from toys import Scale, make_task, three_parameters

from fedpers.build import build
from fedpers.compose import compose_config
from fedpers.errors import UserError
from fedpers.models.staged import Staged
from fedpers.training import Batch
from strategies.fedntd import FedNTD, not_true
from strategies.fedrod import FedRoD, balanced_loss
from strategies.fml import FML


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


def test_fml_by_hand() -> None:
    """w: logits (0, 0), p = 1/2; v: scale 2, head (1/2, -1/2), logits (1, -1), q = sigmoid(2)."""
    client = FML(alpha=0.25, beta=0.75)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(2.0, 0.5, -0.5)))
    p, q = 0.5, sigmoid(2)
    shared = 0.75 * (p - 1) + 0.25 * (p - q)
    mine = 0.25 * (q - 1) + 0.75 * (q - p)
    assert numbers(update.send) == pytest.approx([2, -2 * shared, 2 * shared])
    assert numbers(update.keep, "personal/") == pytest.approx([2 - mine, 0.5 - 2 * mine, -0.5 + 2 * mine], abs=1e-6)


@pytest.mark.parametrize(("key", "limit", "model"), [("alpha", "local", "personal"), ("beta", "fedavg", "global")])
def test_fml_at_its_ends(key: str, limit: str, model: str, federate) -> None:
    taught, alone = (
        run.scores[run.scores.model == model].reset_index(drop=True)
        for run in (federate("strategy=fml", f"strategy.{key}=1"), federate(f"strategy={limit}"))
    )
    assert taught.drop(columns="loss").equals(alone.drop(columns="loss"))
    assert taught.loss.to_numpy() == pytest.approx(alone.loss.to_numpy(), abs=1e-6)


def test_fml_uses_its_own_model_or_the_shared_one() -> None:
    client = FML(alpha=0.5, beta=0.5)
    model = client.personalize(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(3.0, 4.0, 5.0)))
    assert numbers(model.tensors()) == [3, 4, 5]
    assert numbers(client.personalize(make_task(three_parameters(2.0), client, [[1.0]], [0])).tensors()) == [2, 0, 0]


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


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("fedntd", "beta", -1.0), ("fedntd", "temperature", 0.0), ("fml", "alpha", 1.5), ("fml", "beta", -0.5)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        build(compose_config([f"strategy={strategy}"]).strategy | {key: value}, "strategy")
