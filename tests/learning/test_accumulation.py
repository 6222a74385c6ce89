"""Gradients of several mini-batches in one step."""

import pytest
import torch
from torch import nn

from fedpers import seeds
from fedpers.training import Split, fit, sgd


def test_gradients_are_added_up_over_batches_as_one_batch_would_have_them() -> None:
    """Five samples in batches of 2, 2 and 1: all three together are one step of the whole, by samples."""
    data = Split(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0, 1]))
    found = []
    for batch_size, accumulate in ((5, 1), (2, 3)):
        with seeds.seeded_initialization(0, "model"):
            model = nn.Linear(3, 2)
        loss = fit(
            model,
            data,
            epochs=1,
            batch_size=batch_size,
            optimizer=sgd(model.parameters(), 0.5),
            generator=torch.Generator().manual_seed(1),
            accumulate=accumulate,
        )
        found.append((loss, model.weight.detach().clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)
