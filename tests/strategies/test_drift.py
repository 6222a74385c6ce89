"""SCAFFOLD, FedDyn, MOON, Per-FedAvg and pFedMe: by hand, their servers, and FedAvg as their limit."""

import math
from types import SimpleNamespace

import pytest
import torch
from test_own_models import numbers, own
from test_partly_shared import personal, sigmoid
from torch import nn
from toys import make_task, three_parameters

from fedpers.build import build
from fedpers.compose import compose_config
from fedpers.errors import UserError
from fedpers.models.staged import Staged
from strategies.feddyn import DynamicServer, FedDyn
from strategies.moon import Moon
from strategies.per_fedavg import PerFedAvg
from strategies.pfedme import PFedMe
from strategies.scaffold import ControlServer, Scaffold

# x = 1 with label 0, scale 2, head (0, 0), lr 1: the cross-entropy's gradient is (-1, 1) for the head, 0 for the scale.


def named(prefix: str, scale: float, a: float, b: float) -> dict[str, torch.Tensor]:
    return {f"{prefix}base.weight": torch.tensor([scale]), f"{prefix}head.weight": torch.tensor([[a], [b]])}


def test_scaffold_corrects_by_c_minus_c_k() -> None:
    received, state = named("control/server/", 0.2, 0.1, 0.3), named("control/client/", 0.0, 0.2, 0.1)
    task = make_task(three_parameters(2.0), Scaffold(), [[1.0]], [0], received=received, state=state)
    update = Scaffold().train(task)
    sent = {key: value for key, value in update.send.items() if "/" not in key}
    assert numbers(sent) == pytest.approx([1.8, 1.1, -1.2])
    assert numbers(update.send, "control/delta/") == pytest.approx([0, -1.2, 0.9], abs=1e-6)
    # Option II: the new control variate is the mean gradient without correction
    assert numbers(update.keep, "control/client/") == pytest.approx([0, -1, 1], abs=1e-6)


def test_scaffold_divides_by_its_steps() -> None:
    """Two steps of lr 0.5: c_k becomes the mean of the two gradients."""
    update = Scaffold().train(make_task(three_parameters(2.0), Scaffold(), [[1.0]], [0], local_epochs=2, lr=0.5))
    second = 2 * (sigmoid(2) - 1)  # logits 2 (0.5, -0.5), gradient of the head's first weight
    assert numbers(update.keep, "control/client/")[1] == pytest.approx((-1 + second) / 2)


def test_scaffold_server_moves_c_by_the_sampled_share() -> None:
    server = ControlServer(SimpleNamespace(nodes=dict.fromkeys(range(4)), initial={}))  # type: ignore[arg-type]
    sent = {0: {"w": torch.tensor([1.0]), "control/delta/w": torch.tensor([1.0])}}
    sent[2] = {"w": torch.tensor([3.0]), "control/delta/w": torch.tensor([3.0])}
    for expected in (1.0, 2.0):
        state = server.aggregate(1, sent)
        assert {key: value.tolist() for key, value in state.items()} == {"w": [2.0]}
        assert server.send_to(1, 2)["control/server/w"].tolist() == [expected]


def test_scaffolds_first_round_is_fedavgs(federate) -> None:
    """All clients have equally many samples."""
    first, average = (federate(f"strategy={name}", "rounds=1").scores for name in ("scaffold", "fedavg"))
    assert first.loss.to_numpy() == pytest.approx(average.loss.to_numpy(), abs=1e-6)


@pytest.mark.parametrize("key", ["momentum", "weight_decay"])
def test_scaffold_needs_plain_sgd(key: str, config) -> None:
    with pytest.raises(UserError, match=rf"strategy=scaffold with {key}=0\.5 is not possible"):
        Scaffold().check(three_parameters(), config(f"{key}=0.5"))


def test_feddyn_by_hand() -> None:
    client = FedDyn(alpha=0.4)
    state = named("gradient/", 0.1, 0.5, -0.5)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=state))
    assert numbers(update.send) == pytest.approx([2.1, 1.5, -1.5])
    assert numbers(update.keep, "gradient/") == pytest.approx([0.1 - 0.4 * 0.1, 0.5 - 0.4 * 1.5, -0.5 + 0.4 * 1.5])


def test_feddyn_squares_the_norm() -> None:
    """The trap: the pull grows with the distance, alpha (w - w_t)."""
    client = FedDyn(alpha=0.4)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], local_epochs=2))
    assert numbers(update.send)[1] == pytest.approx(1 + 2 * (1 - sigmoid(4)) - 0.4)


def test_feddyn_server_by_hand() -> None:
    """Of 4 clients 2 are sampled, w_t = 1, they send 2 and 4: h = -0.4 / 4 * (1 + 3), w = 3 - h / 0.4."""
    federation = SimpleNamespace(nodes=dict.fromkeys(range(4)), initial=three_parameters().state_dict())
    federation.model = three_parameters
    server = DynamicServer(0.4, federation)  # type: ignore[arg-type]
    server.current = {key: torch.ones_like(value) for key, value in federation.initial.items()}
    sent = {
        n: {key: torch.full_like(v, value) for key, v in federation.initial.items()} for n, value in ((0, 2), (3, 4))
    }
    state = server.aggregate(1, sent)
    assert numbers(state) == pytest.approx([4, 4, 4])
    assert server.h["base.weight"].tolist() == pytest.approx([-0.4])


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


def test_per_fedavg_by_hand() -> None:
    """Halves of one sample each: w~ has the head 0.5 (1, -1), logits (1, -1)."""
    client = PerFedAvg(adaptation_lr=0.5)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0], [1.0]], [0, 0]))
    r = 1 - sigmoid(2)
    assert numbers(update.send) == pytest.approx([2 + r, 2 * r, -2 * r])
    model = client.personalize(make_task(three_parameters(2.0), client, [[1.0], [1.0]], [0, 0]))
    assert numbers(model.tensors()) == pytest.approx([2, 0.5, -0.5])


def test_per_fedavg_hessian_free_by_hand() -> None:
    """g = (-r, -2r, 2r) at w~ as above; a Hessian-vector product at w = (2, 0, 0), where CE = log(1 + exp(-s (a - b))).

    With u = s (a - b) = 0, CE' = -1/2 and CE'' = 1/4. The Hessian's row of s is -1/2 (d_a - d_b), that of a is
    -1/2 d_s + 1/4 s^2 (d_a - d_b), that of b its opposite.
    """
    client = PerFedAvg(adaptation_lr=0.5, hessian_delta=0.01)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]] * 3, [0] * 3))
    r = 1 - sigmoid(2)
    of_scale, of_head = -0.5 * (-4 * r), -0.5 * -r + (-4 * r)
    expected = [2 + r + 0.5 * of_scale, 2 * r + 0.5 * of_head, -2 * r - 0.5 * of_head]
    assert numbers(update.send) == pytest.approx(expected, abs=1e-4)
    assert update.metrics["loss"] == pytest.approx(-math.log(sigmoid(2)))


def test_per_fedavg_gives_each_step_a_part_of_the_batch() -> None:
    """The second of two samples decides the step, the first one where it is taken; a single one serves for both."""
    client = PerFedAvg(adaptation_lr=0.5)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0], [0.0]], [0, 0]))
    swapped = client.train(make_task(three_parameters(2.0), client, [[0.0], [1.0]], [0, 0]))
    outcomes = sorted(numbers(state.send)[1] for state in (update, swapped))
    assert outcomes[0] == 0 or outcomes[1] == 1  # whichever of them the shuffled order took first
    alone = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    assert numbers(alone.send)[1] == pytest.approx(2 * (1 - sigmoid(2)))


def test_per_fedavg_without_adaptation_uses_the_global_model(federate) -> None:
    table = federate("strategy=per_fedavg", "strategy.adaptation_lr=0").scores
    parts = [
        table[table.model == model].drop(columns="model").reset_index(drop=True) for model in ("personal", "global")
    ]
    assert parts[0].equals(parts[1])


def test_pfedme_by_hand() -> None:
    client = PFedMe(lambda_prox=0.5, inner_steps=2, inner_lr=1.0)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    # theta: the head to (1, -1), then by 2 (1 - sigmoid(4)) - 0.5; the scale by 2 (1 - sigmoid(4))
    r = 2 * (1 - sigmoid(4))
    assert numbers(update.keep, "personal/") == pytest.approx([2 + r, 0.5 + r, -0.5 - r])
    # w: by lambda (theta - w)
    assert numbers(update.send) == pytest.approx([2 + 0.5 * r, 0.5 * (0.5 + r), -0.5 * (0.5 + r)])


def test_pfedme_uses_theta(federate) -> None:
    client = PFedMe(lambda_prox=0.5, inner_steps=2, inner_lr=1.0)
    model = client.personalize(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(3.0, 4.0, 5.0)))
    assert numbers(model.tensors()) == [3, 4, 5]
    table = federate("strategy=pfedme").scores
    shared = table[table.model == "global"].reset_index(drop=True)
    assert (personal(SimpleNamespace(metrics=table)).loss != shared.loss).all()


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [
        ("feddyn", "alpha", 0.0),
        ("moon", "mu", -1.0),
        ("moon", "temperature", 0.0),
        ("per_fedavg", "adaptation_lr", -1.0),
        ("per_fedavg", "hessian_delta", 0.0),
        ("pfedme", "inner_steps", 0),
    ],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        build(compose_config([f"strategy={strategy}"]).strategy | {key: value}, "strategy")
