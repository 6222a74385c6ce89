"""Two answers as one: a mixture of probabilities, and the share in it that a client's validation samples choose."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.models.staged import Staged
from fedpers.training import Split, collect


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
def choose_share(model: Staged, mixture: Mixture, shares: Iterable[float], val: Split) -> float:
    """Return the share with the smallest loss on validation samples, of equals the first.

    Args:
        model: The model, whose last stage is the mixture: it answers once, whatever is tried.
        mixture: That stage.
        shares: What is tried.
        val: The validation samples, at least one.
    """
    model.eval()
    own, other = collect(lambda inputs: mixture.answers(model.run_to(inputs, len(model) - 1)), val)
    losses = {s: float(F.cross_entropy(mixed(own, other, s), val.labels, reduction="sum")) for s in shares}
    return min(losses, key=lambda share: losses[share])
