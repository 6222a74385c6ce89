"""What tests share that work out an algorithm's numbers by hand, on the models of `toys.py`."""

import math

import torch


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def numbers(state: dict[str, torch.Tensor], prefix: str = "") -> list[float]:
    """Return the three parameters of a state: the scale, then the head's weights."""
    return [*state[f"{prefix}base.weight"].tolist(), *state[f"{prefix}head.weight"].flatten().tolist()]


def own(scale: float, a: float, b: float) -> dict[str, torch.Tensor]:
    """A client's memory of its personal model."""
    return {"personal/base.weight": torch.tensor([scale]), "personal/head.weight": torch.tensor([[a], [b]])}
