"""Mixtures of probabilities by hand, and the share that validation samples choose."""

import pytest
import torch
from torch import Tensor, nn

from fedpers.models.staged import Staged
from fedpers.training import Split
from strategies.parts.mixtures import Mixture, answered, least_loss, mixed


def test_probabilities_are_mixed_and_none_is_minus_infinity() -> None:
    own, other = torch.tensor([[0.9, 0.1], [1.0, 0.0]]), torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    answers = mixed(own, other, 0.25)
    assert answers[0].exp().tolist() == pytest.approx([0.8, 0.2])
    assert torch.isfinite(answers).all()


class Answers(Mixture):
    """Says of each sample what it is, and that less what is missing to one."""

    def answers(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        own = torch.cat([hidden, 1 - hidden], 1)
        return own, own.flip(1)


def test_both_answers_to_all_samples() -> None:
    answers = Answers(0.25)
    model = Staged({"halved": nn.Linear(1, 1), "answers": answers})
    with torch.no_grad():
        model[0].weight.fill_(0.5)
        model[0].bias.zero_()
    inputs = torch.tensor([[0.2], [0.8]])
    own, other = answered(model, answers, Split(inputs, torch.tensor([0, 1])))
    torch.testing.assert_close(own, torch.tensor([[0.1, 0.9], [0.4, 0.6]]))
    torch.testing.assert_close(other, own.flip(1))
    torch.testing.assert_close(model(inputs), mixed(own, other, 0.25))


@pytest.mark.parametrize(("label", "best"), [(0, "second"), (1, "first")])
def test_the_smallest_loss_is_chosen_and_of_equals_the_first(label: int, best: str) -> None:
    candidates = {"first": [0.2, 0.8], "second": [0.7, 0.3], "third": [0.7, 0.3]}
    tried = ((name, torch.tensor([answers]).log()) for name, answers in candidates.items())
    assert least_loss(tried, torch.tensor([label])) == best
