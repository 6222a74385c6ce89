"""Means of tensors by name. Integers (counters of BatchNorm layers) are averaged in float64 and rounded."""

from collections.abc import Sequence

import torch
from torch import Tensor


def weighted_mean(states: Sequence[dict[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted sum of tensors of equal names, added up in the order given; weights sum to 1.

    To the bit these are the sums of Flower's FedAvg.
    """
    means = {}
    for key, first in states[0].items():
        start = summand(first)
        factors = torch.tensor(weights, dtype=start.dtype).tolist()  # rounded as NumPy rounds them
        total = start * factors[0]
        scratch = torch.empty_like(total)
        for state, weight in zip(states[1:], factors[1:], strict=True):
            total += torch.mul(summand(state[key]), weight, out=scratch)
        means[key] = restored(total, first.dtype)
    return means


def plain_mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of tensors of equal names, every state counting once."""
    return {
        key: restored(torch.stack([summand(state[key]) for state in states]).mean(0), first.dtype)
        for key, first in states[0].items()
    }


def summand(tensor: Tensor) -> Tensor:
    """Return numbers to calculate with: integers as float64."""
    return tensor if tensor.is_floating_point() else tensor.double()


def restored(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what was calculated in the type of what it was calculated from; to whole numbers it is rounded."""
    if value.dtype == dtype:
        return value
    is_whole = not (dtype.is_floating_point or dtype == torch.bool)
    return (value.round() if is_whole else value).to(dtype)
