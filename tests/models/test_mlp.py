"""MLPs: their size by hand."""

import torch
from zoo import num_parameters

from fedpers.models.mlp import mlp


def test_mlp_size_by_hand() -> None:
    # (64 + 1) 5 + (5 + 1) 4 + (4 + 1) 10
    assert num_parameters(mlp((1, 8, 8), 10, hidden=(5, 4))) == 399


def test_mlp_without_hidden_layers_is_linear() -> None:
    model = mlp((1, 8, 8), 10, hidden=())
    assert model.stage_names == ("head",)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
