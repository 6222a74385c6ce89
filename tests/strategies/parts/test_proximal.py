"""Terms over weights and their gradients by hand."""

import pytest
import torch
from toys import three_parameters

from strategies.parts.proximal import half_squared_distance, inner_product


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


def test_an_inner_product_adds_its_constants_to_the_gradient() -> None:
    model = three_parameters(2.0, (1.0, -1.0))
    term = inner_product(model, {"head.weight": torch.tensor([[3.0], [0.5]])})
    assert term.item() == 3 - 0.5
    term.backward()
    assert model.get_parameter("head.weight").grad.flatten().tolist() == [3, 0.5]
    assert model.get_parameter("base.weight").grad is None
    assert inner_product(model, {}).item() == 0
