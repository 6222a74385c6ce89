"""Rules that look at each number by itself: median and trimmed mean.

Yin, Chen, Ramchandran and Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML
2018, https://arxiv.org/abs/1803.01498, Definitions 1 and 2. Every client counts once, whatever its samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedpers.aggregation.base import Aggregation
from fedpers.averaging import restored, summand
from fedpers.task import State


class Median(Aggregation):
    """The median of each number over clients; of an even number of clients the mean of the two in the middle."""

    def combine(self, states: Sequence[State], weights: Sequence[float] | None, start: Mapping[str, Tensor]) -> State:
        """Return the medians."""
        return each_number(states, lambda values: np.median(values, axis=0))


@dataclass(frozen=True)
class TrimmedMean(Aggregation):
    """The mean of each number over clients, without its largest and its smallest values.

    Args:
        trim: Share of the clients that is left out at either end, rounded down.
    """

    trim: float

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("trim", 0 <= self.trim < 0.5, "a share in [0, 0.5)")

    def combine(self, states: Sequence[State], weights: Sequence[float] | None, start: Mapping[str, Tensor]) -> State:
        """Return the trimmed means."""
        from scipy.stats import trim_mean  # late: it takes half a second

        return each_number(states, lambda values: trim_mean(values, self.trim, axis=0))


def each_number(states: Sequence[State], rule: Callable[[NDArray[Any]], Any]) -> State:
    """Apply a rule to each tensor of all clients, (clients, ...), and return what it makes of their first axis."""
    return {
        key: restored(
            torch.from_numpy(np.asarray(rule(torch.stack([summand(state[key]) for state in states]).numpy()))),
            first.dtype,
        )
        for key, first in states[0].items()
    }
