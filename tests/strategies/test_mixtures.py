"""FedALA, FedAMP and kNN-Per: what a client mixes into its own model or answer, by hand and as limits."""

import math
from types import SimpleNamespace

import pytest
import torch
from test_own_models import numbers
from test_partly_shared import personal, sigmoid
from toys import make_task, three_parameters

from fedpers.build import build
from fedpers.compose import compose_config
from fedpers.errors import UserError
from strategies.fedala import FedALA
from strategies.fedamp import CloudServer, FedAMP
from strategies.knn_per import KNNPer, Neighbours

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
    federation = SimpleNamespace(nodes=dict.fromkeys(range(3)), initial={})
    server = CloudServer(federation, fedamp(attention="distance", sigma=1.0, alpha=1.0))  # type: ignore[arg-type]
    assert server.send_to(0, 1) == {}
    server.aggregate(1, {0: {"model/w": torch.tensor([0.0])}, 2: {"model/w": torch.tensor([5.0])}})
    assert server.send_to(1, 2) == {}
    server.aggregate(2, {0: {"model/w": torch.tensor([4.0])}})  # client 2's 5.0 stands
    assert server.send_to(0, 3)["cloud/w"].tolist() == pytest.approx([4 + 1 / math.e])
    assert server.send_to(2, 3)["cloud/w"].tolist() == pytest.approx([5 - 1 / math.e])


def test_fedamp_is_held_near_the_mixture() -> None:
    received = {"cloud/base.weight": torch.tensor([3.0]), "cloud/head.weight": torch.tensor([[0.5], [-0.5]])}
    client = fedamp()
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], received=received))
    assert numbers(update.keep) == pytest.approx([2.4, 1.2, -1.2])
    assert numbers(update.send, "model/") == numbers(update.keep)
    assert update.metrics["loss"] == pytest.approx(math.log(2) + 0.2 * 1.5)


def test_fedamp_with_lambda_zero_is_local(federate) -> None:
    alone = federate("strategy=local").scores
    assert federate("strategy=fedamp", "strategy.lambda_prox=0").scores.equals(alone)
    assert not federate("strategy=fedamp", "strategy.lambda_prox=1").scores.equals(alone)


def test_fedamp_wants_one_architecture(federate) -> None:
    with pytest.raises(UserError, match="strategy=fedamp mixes clients' weights"):
        federate("strategy=fedamp", "model=mixed")


TWO = ([[1.0], [-1.0]], [0, 1])


@pytest.mark.parametrize(("neighbours", "near"), [(1, 1.0), (2, sigmoid(4)), (10, sigmoid(4))])
def test_knn_per_by_hand(neighbours: int, near: float) -> None:
    """Representations 2 and -2, distance 4; the head knows nothing, so that it says 1/2."""
    client = KNNPer(lambda_knn=0.5, neighbours=neighbours, sigma=1.0)
    model = client.personalize(make_task(three_parameters(2.0), client, *TWO))
    p = model(torch.tensor([[1.0]])).exp().flatten().tolist()
    assert p == pytest.approx([0.5 * near + 0.25, 0.75 - 0.5 * near])


def test_knn_per_sigma_stretches_distances() -> None:
    client = KNNPer(lambda_knn=1.0, neighbours=2, sigma=4.0)
    model = client.personalize(make_task(three_parameters(2.0), client, *TWO))
    assert model(torch.tensor([[1.0]])).exp()[0, 0].item() == pytest.approx(sigmoid(1))


def test_knn_per_chooses_its_share_by_validation() -> None:
    """Here validation samples are those of the memory: one neighbour is always right, or, relabelled, always wrong."""
    client = KNNPer(lambda_knn="auto", neighbours=1, sigma=1.0)
    task = make_task(three_parameters(2.0), client, *TWO)
    head = client.personalize(task)[-1]
    assert isinstance(head, Neighbours)
    assert head.share == 1
    task.data.__dict__["val"] = type(task.data.val)(task.data.val.inputs, 1 - task.data.val.labels)
    assert client.personalize(task)[-1].share == 0
    task.data.__dict__["val"] = type(task.data.val)(torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64))
    assert client.personalize(task)[-1].share == 0.5


def test_knn_per_without_neighbours_is_fedavg(federate) -> None:
    average = federate("strategy=fedavg").scores
    assert federate("strategy=knn_per", "strategy.lambda_knn=0").scores.equals(average)
    run = federate("strategy=knn_per").scores
    shared = [table[table.model == "global"].reset_index(drop=True) for table in (run, average)]
    assert shared[0].equals(shared[1])
    assert not run[run.model == "personal"].equals(average[average.model == "personal"])


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [
        ("fedala", "share", 0.0),
        ("fedala", "weights_lr", -1.0),
        ("fedala", "start_epochs", -1),
        ("fedamp", "lambda_prox", -1.0),
        ("fedamp", "sigma", 0.0),
        ("fedamp", "self_weight", 1.5),
        ("fedamp", "alpha", -1.0),
        ("fedamp", "attention", "loud"),
        ("knn_per", "lambda_knn", 1.5),
        ("knn_per", "lambda_knn", "half"),
        ("knn_per", "neighbours", 0),
        ("knn_per", "sigma", 0.0),
    ],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float | str) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}\W+{value}"):
        build(compose_config([f"strategy={strategy}"]).strategy | {key: value}, "strategy")
