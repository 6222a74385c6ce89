"""The proximal term and its gradient by hand."""

import pytest
import torch
from toys import three_parameters

from strategies.parts.proximal import half_squared_distance


def test_term_and_its_gradient_by_hand() -> None:
    model = three_parameters(2.0, (1.0, -1.0))
    anchor = {"base.weight": torch.tensor([0.5]), "head.weight": torch.tensor([[1.0], [3.0]])}
    term = half_squared_distance(model, anchor)
    assert term.item() == pytest.approx((1.5**2 + 0 + 4**2) / 2)
    term.backward()
    assert model.get_parameter("base.weight").grad.tolist() == [1.5]  # w - anchor
    assert model.get_parameter("head.weight").grad.flatten().tolist() == [0, -4]


def test_term_is_over_the_named_parameters_only() -> None:
    model = three_parameters(2.0, (1.0, -1.0))
    term = half_squared_distance(model, {"base.weight": torch.tensor([0.0])})
    assert term.item() == 2
    term.backward()
    assert model.get_parameter("head.weight").grad is None
    assert half_squared_distance(model, {}).item() == 0
