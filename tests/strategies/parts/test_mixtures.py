"""Mixtures of probabilities by hand, and the share that validation samples choose."""

import pytest
import torch
from torch import Tensor, nn

from fedpers.models.staged import Staged
from fedpers.training import Split
from strategies.parts.mixtures import Mixture, choose_share, mixed


def test_probabilities_are_mixed_and_none_is_minus_infinity() -> None:
    own, other = torch.tensor([[0.9, 0.1], [1.0, 0.0]]), torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    answers = mixed(own, other, 0.25)
    assert answers[0].exp().tolist() == pytest.approx([0.8, 0.2])
    assert torch.isfinite(answers).all()


class Answers(Mixture):
    """Two answers, which count how often they are asked for."""

    def __init__(self, own: float, other: float) -> None:
        super().__init__(0.5)
        self.pair, self.asked = [torch.tensor([[p, 1 - p]]) for p in (own, other)], 0

    def answers(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        self.asked += 1
        return self.pair[0].expand(len(hidden), 2), self.pair[1].expand(len(hidden), 2)


@pytest.mark.parametrize(
    ("own", "other", "label", "share"), [(0.2, 0.7, 0, 0.6), (0.2, 0.7, 1, 0.0), (0.3, 0.3, 0, 0.0)]
)
def test_the_smallest_loss_is_chosen_and_of_equals_the_first(
    own: float, other: float, label: int, share: float
) -> None:
    answers = Answers(own, other)
    model = Staged({"same": nn.Identity(), "answers": answers})
    assert choose_share(model, answers, (0.0, 0.3, 0.6), Split(torch.zeros(1, 1), torch.tensor([label]))) == share
    assert answers.asked == 1
    assert answers.share == 0.5  # the caller sets it
