"""Weights set aside and put back."""

import torch
from by_hand import numbers
from toys import three_parameters

from strategies.parts.snapshots import restore, snapshot


def test_a_snapshot_outlives_the_next_training() -> None:
    model = three_parameters(2.0, (1.0, -1.0))
    kept = snapshot(model.tensors())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(5)
    assert numbers(model.tensors()) == [7, 6, 4]
    assert numbers(kept) == [2, 1, -1]
    restore(model, kept)
    assert numbers(model.tensors()) == [2, 1, -1]
    with torch.no_grad():
        model.get_parameter("base.weight").add_(1)
    assert numbers(kept) == [2, 1, -1]  # the model has not taken their memory


def test_what_is_not_named_stays() -> None:
    model = three_parameters(2.0, (1.0, -1.0))
    restore(model, {"base.weight": torch.tensor([9.0]), "unknown": torch.zeros(1)})
    assert numbers(model.tensors()) == [9, 1, -1]
