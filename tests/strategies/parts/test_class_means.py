"""Means by class: how they are made, and the server that remembers every client's last ones."""

import torch
from by_hand import Half, federation

from fedpers.algorithm import State
from strategies.fd import AverageServer
from strategies.parts.class_means import Means, class_averages


def test_class_averages_by_hand() -> None:
    values = torch.tensor([[1.0, 0.0], [5.0, 5.0], [3.0, 2.0]])
    mean, count = class_averages(values, torch.tensor([3, 0, 3]), 5)
    assert mean.tolist() == [[5, 5], [2, 1]]  # of classes 0 and 3
    assert count.tolist() == [1, 0, 0, 2, 0]


def test_as_many_classes_as_labels_ask_for() -> None:
    mean, count = class_averages(torch.ones(2, 1), torch.tensor([1, 1]), 0)
    assert mean.tolist() == [[1]]
    assert count.tolist() == [0, 2]


def answer(mean: float, count: list[int]) -> State:
    return {"x/mean": torch.tensor([[mean]]), "x/count": torch.tensor(count)}


def known(half: Half) -> dict[int, tuple[list[list[float]], list[int]]]:
    means: dict[int, Means] = half.state.means
    return {client: (each.mean.tolist(), each.count.tolist()) for client, each in means.items()}


def test_of_a_client_that_is_away_the_last_means_stand() -> None:
    half = Half(AverageServer(federation(), "x/mean", "x/count", 0.5))
    half.aggregate(1, {3: answer(1.0, [4, 0]), 2: answer(2.0, [0, 1])})
    first = half.state
    half.aggregate(2, {0: answer(5.0, [1, 0]), 3: answer(7.0, [0, 2])})
    assert list(half.state.means) == [0, 2, 3]  # sums of floating-point numbers depend on the order
    assert known(half) == {0: ([[5]], [1, 0]), 2: ([[2]], [0, 1]), 3: ([[7]], [0, 2])}
    assert first.means[3].mean.tolist() == [[1]]


def test_what_is_put_down_is_a_copy() -> None:
    """A message's memory is not the server's."""
    half, sent = Half(AverageServer(federation(), "x/mean", "x/count", 0.5)), {0: answer(1.0, [4, 0])}
    half.aggregate(1, sent)
    for tensor in sent[0].values():
        tensor.zero_()
    assert known(half) == {0: ([[1]], [4, 0])}
