"""Weights set aside and put back: a model is one object that algorithms train, ask and restore in turn."""

import torch

from fedpers.algorithm import State
from fedpers.models.staged import Staged


def snapshot(tensors: State) -> State:
    """Return copies, for what must outlive the next training of the same model or the message that it came in."""
    return {key: tensor.clone() for key, tensor in tensors.items()}


@torch.no_grad()
def restore(model: Staged, tensors: State) -> None:
    """Put tensors into a model, in place; what they do not name stays."""
    for key, tensor in model.tensors().items():
        if key in tensors:
            tensor.copy_(tensors[key])
