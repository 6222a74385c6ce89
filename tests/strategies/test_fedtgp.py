"""FedTGP: its loss and margin by hand, what its server trains, and Local as its limit."""

import math

import pytest
import torch
from by_hand import Half, federation, from_yaml
from federations import personal
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fedtgp import FedTGP, contrast, widest_gap
from strategies.parts.prototypes import CLASS, COUNT, GLOBAL, MEAN


def tgp(inference: str = "prototype", max_margin: float = 100.0, server_epochs: int = 200) -> FedTGP:
    return FedTGP(
        lambda_proto=0.5,
        inference=inference,
        max_margin=max_margin,
        server_hidden=16,
        server_epochs=server_epochs,
        server_lr=0.05,
        server_batch_size=2,
    )


def test_a_step_of_a_client_by_hand() -> None:
    """x = 1 with label 0, scale 2, head (0, 0), prototype 1: the head to (1, -1), the scale by -0.5 * 2 (2 - 1)."""
    given = {GLOBAL: torch.tensor([[1.0]]), CLASS: torch.tensor([0])}
    update = tgp().train(make_task(three_parameters(2.0), tgp(), [[1.0]], [0], received=given))
    assert update.keep["base.weight"].tolist() == pytest.approx([1.0])
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([1, -1])
    assert update.send[MEAN].tolist() == [[pytest.approx(1.0)]]
    assert update.send[COUNT].tolist() == [1, 0]


def test_the_servers_loss_by_hand() -> None:
    """P = (0, 0) of class 0: distances 5 and 10, margin 3; so the right one counts as 8. Without a margin as 5."""
    prototypes = torch.tensor([[3.0, 4.0], [6.0, 8.0]])
    mean, label = torch.zeros(1, 2), torch.tensor([0])
    assert contrast(mean, label, prototypes, 3.0).item() == pytest.approx(math.log(1 + math.exp(8 - 10)))
    assert contrast(mean, label, prototypes, 0.0).item() == pytest.approx(math.log(1 + math.exp(5 - 10)))
    both = contrast(torch.zeros(2, 2), torch.tensor([0, 1]), prototypes, 3.0).item()
    assert both == pytest.approx((math.log(1 + math.exp(-2)) + math.log(1 + math.exp(13 - 5))) / 2)


def test_the_margin_by_hand() -> None:
    """Centers (1, 0), from two clients, and (4, 4)."""
    means = torch.tensor([[0.0, 0.0], [4.0, 4.0], [2.0, 0.0]])
    assert widest_gap(means, torch.tensor([0, 1, 0])).item() == 5
    assert widest_gap(means[:1], torch.tensor([0])).item() == 0


def make_server(**changes: float) -> Half:
    return Half(tgp(**changes).server(federation(num_clients=3, num_classes=10)))


def sent(mean: list[list[float]], count: list[int]) -> dict[str, torch.Tensor]:
    return {MEAN: torch.tensor(mean), COUNT: torch.tensor(count)}


def test_trained_prototypes_are_nearest_to_their_class_and_further_apart() -> None:
    """Two clients, classes 0, 3 and 9; the centers of 0 and 3 are only 1 apart."""
    clients = {
        0: sent([[0.0, 0.0], [1.0, 0.0]], [4, 0, 0, 2, 0, 0, 0, 0, 0, 0]),
        2: sent([[0.0, 1.0], [1.0, 1.0], [0.5, 3.0]], [1, 0, 0, 1, 0, 0, 0, 0, 0, 5]),
    }
    server = make_server()
    state = server.aggregate(1, clients)
    assert state[CLASS].tolist() == [0, 3, 9]
    rows = torch.cat([state[MEAN] for state in clients.values()])
    nearest = state[CLASS][torch.cdist(rows, state[GLOBAL]).argmin(1)]
    assert nearest.tolist() == [0, 3, 0, 3, 9]
    assert torch.pdist(state[GLOBAL]).min() > 1
    assert server.diagnostics["margin"] == pytest.approx(math.hypot(0.5, 2.5))


def test_absent_clients_are_remembered_and_training_goes_on() -> None:
    server = make_server(server_epochs=3)
    server.aggregate(1, {0: sent([[0.0, 0.0]], [4, *[0] * 9]), 1: sent([[3.0, 4.0]], [0, 2, *[0] * 8])})
    before = server.diagnostics["prototype_loss"]
    state = server.aggregate(2, {0: sent([[0.0, 0.0]], [4, *[0] * 9])})
    assert state[CLASS].tolist() == [0, 1]
    assert server.diagnostics["margin"] == 5
    assert server.diagnostics["prototype_loss"] < before


def test_the_largest_margin_bounds_the_margin() -> None:
    server = make_server(max_margin=2.0)
    server.aggregate(1, {0: sent([[0.0, 0.0], [3.0, 4.0]], [1, 1, *[0] * 8])})
    assert server.diagnostics["margin"] == 2


def test_the_personal_model_is_the_nearest_prototype_or_the_classifier() -> None:
    given = {GLOBAL: torch.tensor([[5.0], [2.0]]), CLASS: torch.tensor([0, 1])}
    task = make_task(three_parameters(1.0, (1.0, -1.0)), tgp(), [[1.0]], [0], received=given)
    assert tgp().personalize(task)(torch.tensor([[1.0], [9.0]])).argmax(1).tolist() == [1, 0]
    assert tgp(inference="classifier").personalize(task) is task.model


def test_lambda_zero_with_the_classifier_is_local(federate) -> None:
    alone, own = federate("strategy=local"), ("strategy=fedtgp", "strategy.inference=classifier")
    assert personal(federate(*own, "strategy.lambda_proto=0")).equals(personal(alone))
    assert not personal(federate(*own)).equals(personal(alone))


def test_only_prototypes_and_counts_travel(federate) -> None:
    assert set(federate("strategy=fedtgp").traffic.kind) == {"prototypes", "labels", "metrics", "control"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lambda_proto", -1.0),
        ("inference", "head"),
        ("max_margin", -1.0),
        ("server_epochs", -1),
        ("server_lr", 0.0),
        ("server_hidden", 0),
    ],
)
def test_impossible_value_is_named(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}"):
        from_yaml("fedtgp", **{key: value})
