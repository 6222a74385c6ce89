"""What tests share that work out an algorithm's numbers by hand, on the models of `toys.py`."""

import math

import torch

from fedpers.build import build
from fedpers.compose import compose_config
from strategies.base import Algorithm

LOG2, LOG3 = math.log(2), math.log(3)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def numbers(state: dict[str, torch.Tensor], prefix: str = "") -> list[float]:
    """Return the three parameters of a state: the scale, then the head's weights."""
    return [*state[f"{prefix}base.weight"].tolist(), *state[f"{prefix}head.weight"].flatten().tolist()]


def named(prefix: str, scale: float, a: float, b: float) -> dict[str, torch.Tensor]:
    """Three parameters whose names begin with a prefix."""
    return {f"{prefix}base.weight": torch.tensor([scale]), f"{prefix}head.weight": torch.tensor([[a], [b]])}


def own(scale: float, a: float, b: float) -> dict[str, torch.Tensor]:
    """A client's memory of its personal model."""
    return named("personal/", scale, a, b)


def from_yaml(strategy: str, **changes: object) -> Algorithm:
    """Build an algorithm with the values of its YAML file but for some changes."""
    algorithm: Algorithm = build(compose_config([f"strategy={strategy}"]).strategy | changes, "strategy")
    return algorithm
