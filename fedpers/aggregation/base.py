"""The contract of aggregation: what clients sent in, one state of the same names out. Here it is the mean."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedpers.averaging import plain_mean, weighted_mean
from fedpers.errors import Refusing
from fedpers.task import State


class Aggregation(Refusing):
    """The mean that an algorithm is published with. A group's `_target_` may name any other, by `plugins`."""

    group = "aggregation"

    def combine(self, states: Sequence[State], weights: Sequence[float] | None, start: Mapping[str, Tensor]) -> State:
        """Return one state of many.

        Args:
            states: What clients sent, all of equal names, types and shapes; not to be changed.
            weights: Their weights, which sum to 1; None where the algorithm's mean is plain.
            start: What the clients had been sent, as far as it has these names; elsewhere they started from 0.
        """
        return plain_mean(states) if weights is None else weighted_mean(states, weights)


def flat(state: Mapping[str, Tensor], start: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Return how far a client has moved from where it started, over all floating-point tensors, in float64: (d,)."""
    parts = [
        (state[name].double() - start[name].double() if name in start else state[name].double()).flatten()
        for name in names
        if state[name].is_floating_point()
    ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def moves(states: Sequence[State], start: Mapping[str, Tensor]) -> Tensor:
    """Return how far each client has moved: (clients, d), in float64."""
    return torch.stack([flat(state, start, list(states[0])) for state in states])
