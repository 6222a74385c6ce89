"""Norm clipping: no client moves the mean by more than so much.

Sun, Kairouz, Suresh and McMahan, "Can You Really Backdoor Federated Learning?", 2019,
https://arxiv.org/abs/1911.07963, section 3 (norm thresholding of updates).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedpers.aggregation.base import Aggregation, moves
from fedpers.task import State


@dataclass(frozen=True)
class NormClipping(Aggregation):
    """The mean of updates none of which is longer than a norm.

    Args:
        norm: The largest L2 norm of a client's change of all it sends; None for the median of this round's norms.
    """

    norm: float | None

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("norm", self.norm is None or self.norm > 0, "above 0, or null")

    def combine(self, states: Sequence[State], weights: Sequence[float] | None, start: Mapping[str, Tensor]) -> State:
        """Return the mean of what is left of each update."""
        norms = moves(states, start).norm(dim=1)
        bound = float(norms.quantile(0.5)) if self.norm is None else self.norm
        factors = (bound / norms.clamp_min(1e-12)).clamp_max(1.0).tolist()
        shrunk = [shorten(state, start, factor) for state, factor in zip(states, factors, strict=True)]
        return super().combine(shrunk, weights, start)


@torch.no_grad()
def shorten(state: State, start: Mapping[str, Tensor], factor: float) -> State:
    """Return a state of which this share of its way from the start is left; integers are as they were."""
    if factor >= 1:
        return state
    return {
        key: (start[key] + factor * (value - start[key]) if key in start else factor * value).to(value.dtype)
        if value.is_floating_point()
        else value
        for key, value in state.items()
    }
