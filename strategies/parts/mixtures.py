"""Two answers as one: a mixture of probabilities, and the share in it that a client's validation samples choose."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from fedpers.training import Split, score


class Shared(Protocol):
    """What holds the share of the other answer."""

    share: float


def mixed(own: Tensor, other: Tensor, share: float) -> Tensor:
    """Return log((1 - share) own + share other) for probabilities (n, classes)."""
    mixture = (1 - share) * own + share * other
    return mixture.clamp_min(torch.finfo(mixture.dtype).tiny).log()


def choose_share(model: nn.Module, holder: Shared, shares: Iterable[float], val: Split) -> float:
    """Return the share with the smallest loss on validation samples, of equals the first.

    Args:
        model: The model that answers by the holder's share.
        holder: Its `share` is set to each in turn, and left at the last.
        shares: What is tried.
        val: The validation samples, at least one.
    """
    losses = {}
    for share in shares:
        holder.share = share
        losses[share] = score(model, val).loss
    return min(losses, key=lambda share: losses[share])
