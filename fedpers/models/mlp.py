"""Multilayer perceptron."""

import math

from torch import nn

from fedpers.errors import UserError
from fedpers.models.staged import Staged


def mlp(shape: tuple[int, int, int], num_classes: int, *, hidden: tuple[int, ...]) -> Staged:
    """Build a perceptron with ReLU; one stage (`fc1`, `fc2`, ...) a hidden layer, then `head`.

    Args:
        shape: Shape of one image: channels, height, width.
        num_classes: Number of logits.
        hidden: Width of each hidden layer.
    """
    return Staged(dense_stages(math.prod(shape), hidden, num_classes))


def dense_stages(width: int, hidden: tuple[int, ...], num_classes: int) -> dict[str, nn.Module]:
    """Return stages `fc1` ... and `head` behind an input of `width` values a sample, flattening it first."""
    if any(units < 1 for units in hidden):
        raise UserError(f"model.hidden={list(hidden)} is not possible. Accepted: numbers of at least 1")
    stages: dict[str, nn.Module] = {}
    for number, units in enumerate(hidden, start=1):
        flatten = [nn.Flatten()] if number == 1 else []
        stages[f"fc{number}"] = nn.Sequential(*flatten, nn.Linear(width, units), nn.ReLU())
        width = units
    head = nn.Linear(width, num_classes)
    stages["head"] = head if hidden else nn.Sequential(nn.Flatten(), head)
    return stages
