"""What a model makes of samples, and how it learns from another's answers, by hand."""

import pytest
import torch
from by_hand import LOG2, LOG3
from toys import three_parameters

from fedpers.training import Split
from strategies.parts.answers import answers, distill, representations


def test_temperature_by_hand() -> None:
    # logits (0, 2 ln 3), T = 2: softened (1/4, 3/4); target (1/2, 1/2):
    # KL = 1/2 ln(2) + 1/2 ln(2/3) = ln 2 - 1/2 ln 3, times T² = 4
    loss = distill(torch.tensor([[0.0, 2 * LOG3]]), torch.tensor([[0.5, 0.5]]), 2.0)
    assert loss.tolist() == pytest.approx([4 * (LOG2 - 0.5 * LOG3)])


def test_answers_and_representations_by_hand() -> None:
    """Scale 2, head (1, -3): of x = 3 the head sees 6."""
    model, data = three_parameters(2.0, (1.0, -3.0)).train(), Split(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]))
    assert representations(model, data).tolist() == [[2], [6]]
    assert answers(model, data).tolist() == [[2, -6], [6, -18]]
    assert not model.training
    assert not answers(model, data).requires_grad
