"""Prototypes: their mean, the pull towards them, and the nearest one as an answer, by hand."""

import pytest
import torch
from by_hand import LOG2
from toys import three_parameters

from fedpers.training import Batch, cross_entropy
from strategies.parts.class_means import Means
from strategies.parts.prototypes import CLASS, GLOBAL, NearestPrototype, mean_prototypes, near_prototypes


def test_nearest_prototype_by_hand() -> None:
    head = NearestPrototype(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([2, 0]), 4)
    assert head(torch.tensor([[0.0, 0.0]])).tolist() == [[-25, -26, 0, -26]]
    assert head(torch.tensor([[[3.0], [3.0]]])).argmax(1).tolist() == [0]


def test_mean_prototypes_by_hand() -> None:
    one = Means(torch.tensor([[1.0, 0.0], [2.0, 2.0]]), torch.tensor([3, 0, 1]))
    other = Means(torch.tensor([[5.0, 4.0]]), torch.tensor([1, 0, 0]))
    sent = mean_prototypes([one, other])
    assert sent[CLASS].tolist() == [0, 2]
    assert sent[GLOBAL].tolist() == [[2.0, 1.0], [2.0, 2.0]]  # (3 * 1 + 5) / 4, (3 * 0 + 4) / 4


def test_a_pull_towards_the_prototype_of_ones_class_by_hand() -> None:
    """Scale 2: h = 2 is 1 away from the prototype of class 0; class 1 has none; the mean is over both samples."""
    model = three_parameters(2.0)
    batch = Batch(torch.tensor([[1.0], [1.0]]), torch.tensor([0, 1]), torch.tensor([0, 1]))
    received = {GLOBAL: torch.tensor([[1.0]]), CLASS: torch.tensor([0])}
    loss = near_prototypes(received, 3.0)(model, batch)
    assert loss.item() == pytest.approx(LOG2 + 3 * 1 / 2)
    loss.backward()
    assert model.get_parameter("base.weight").grad.tolist() == [3 * 2 * 1 / 2]


def test_without_prototypes_or_weight_there_is_no_pull() -> None:
    received = {GLOBAL: torch.tensor([[1.0]]), CLASS: torch.tensor([0])}
    assert near_prototypes({}, 3.0) is cross_entropy
    assert near_prototypes(received, 0.0) is cross_entropy
