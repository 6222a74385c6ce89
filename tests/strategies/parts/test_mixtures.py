"""Mixtures of probabilities by hand, and the share that validation samples choose."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from fedpers.training import Split
from strategies.parts.mixtures import choose_share, mixed

ONE = Split(torch.zeros(1, 1), torch.tensor([0]))


def test_probabilities_are_mixed_and_none_is_minus_infinity() -> None:
    own, other = torch.tensor([[0.9, 0.1], [1.0, 0.0]]), torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    answers = mixed(own, other, 0.25)
    assert answers[0].exp().tolist() == pytest.approx([0.8, 0.2])
    assert torch.isfinite(answers).all()


class Answers(nn.Module):
    """Gives class 0 the probability that stands beside the holder's share."""

    def __init__(self, holder: SimpleNamespace, by_share: dict[float, float]) -> None:
        super().__init__()
        self.holder, self.by_share = holder, by_share

    def forward(self, inputs: Tensor) -> Tensor:
        p = self.by_share[self.holder.share]
        return torch.tensor([[math.log(p), math.log(1 - p)]]).expand(len(inputs), 2)


def test_the_smallest_loss_is_chosen_and_of_equals_the_first() -> None:
    holder = SimpleNamespace(share=0.5)
    assert choose_share(Answers(holder, {0.0: 0.2, 0.3: 0.7, 0.6: 0.7}), holder, (0.0, 0.3, 0.6), ONE) == 0.3
