"""kNN-Per: what a client mixes into its answer, by hand, and FedAvg as its limit."""

import pytest
import torch
from by_hand import from_yaml, sigmoid
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.knn_per import KNNPer, Neighbours

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
        ("knn_per", "lambda_knn", 1.5),
        ("knn_per", "lambda_knn", "half"),
        ("knn_per", "neighbours", 0),
        ("knn_per", "sigma", 0.0),
    ],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float | str) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}\W+{value}"):
        from_yaml(strategy, **{key: value})
