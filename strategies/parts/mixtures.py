"""Two answers as one: a mixture of probabilities, and the share in it that a client's validation samples choose."""

from collections.abc import Iterable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.models.staged import Staged
from fedpers.training import Split, collect

T = TypeVar("T")


class Mixture(nn.Module):
    """The last stage of a model, which answers twice; what it gives are log-probabilities of the mixture.

    Args:
        share: The share of the other answer, 0 to 1.
    """

    def __init__(self, share: float) -> None:
        """Remember the share."""
        super().__init__()
        self.share = share

    def answers(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the own and the other answer to representations (n, ...): probabilities, both (n, classes)."""
        raise NotImplementedError

    def forward(self, hidden: Tensor) -> Tensor:
        """Return log p(y | x) for representations (n, ...): (n, classes)."""
        return mixed(*self.answers(hidden), self.share)


def mixed(own: Tensor, other: Tensor, share: float) -> Tensor:
    """Return log((1 - share) own + share other) for probabilities (n, classes)."""
    mixture = (1 - share) * own + share * other
    return mixture.clamp_min(torch.finfo(mixture.dtype).tiny).log()


@torch.no_grad()
def answered(model: Staged, mixture: Mixture, data: Split) -> tuple[Tensor, Tensor]:
    """Return both answers to all samples, (n, classes) each, in evaluation mode.

    Args:
        model: The model, whose last stage is the mixture.
        mixture: That stage.
        data: The samples, at least one.
    """
    model.eval()
    own, other = collect(lambda inputs: mixture.answers(model.run_to(inputs, len(model) - 1)), data)
    return own, other


def least_loss(candidates: Iterable[tuple[T, Tensor]], labels: Tensor) -> T:
    """Return the candidate with the smallest cross-entropy, of equals the first.

    Args:
        candidates: Each with its answers: log-probabilities (n, classes).
        labels: The labels (n,).
    """
    losses = ((float(F.cross_entropy(answers, labels, reduction="sum")), each) for each, answers in candidates)
    return min(losses, key=lambda pair: pair[0])[1]
