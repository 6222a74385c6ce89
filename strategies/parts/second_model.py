"""A second model at home: a personal one beside the shared one, kept in a client's memory under a prefix."""

import torch

from fedpers.client import State, Task
from fedpers.models.staged import Staged

PREFIX = "personal/"


def store(tensors: State) -> State:
    """Return a model's tensors, detached, as they are kept in a client's memory."""
    return {PREFIX + key: tensor.detach() for key, tensor in tensors.items()}


def stored(state: State) -> State:
    """Return the personal model's tensors from a client's memory; empty if it has none yet."""
    return {key.removeprefix(PREFIX): tensor for key, tensor in state.items() if key.startswith(PREFIX)}


def second(task: Task) -> tuple[State, State]:
    """Return a client's personal model for training beside `task.model`: parameters with gradients, and buffers.

    It starts from the initial weights.
    """
    own = stored(task.state) or task.initial
    parameters = {name: own[name].clone().requires_grad_() for name, _ in task.model.named_parameters()}
    return parameters, {name: own[name].clone() for name, _ in task.model.named_buffers()}


@torch.no_grad()
def load(model: Staged, tensors: State) -> None:
    """Put tensors into a model, in place; what they do not name stays."""
    for key, tensor in model.tensors().items():
        if key in tensors:
            tensor.copy_(tensors[key])


def copied(tensors: State) -> State:
    """Return copies, for what must outlive the next training of the same model."""
    return {key: tensor.clone() for key, tensor in tensors.items()}
