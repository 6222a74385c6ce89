"""A second model at home: a personal one beside the shared one, kept in a client's memory under a prefix."""

from fedpers.algorithm import Algorithm, State, Task
from fedpers.models.staged import Staged
from strategies.parts.snapshots import restore

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


class SecondModel(Algorithm):
    """A personal model beside the shared one: a client is scored by the one in its memory, else by what it received."""

    def personalize(self, task: Task) -> Staged:
        """Return the personal model, if there is one yet."""
        restore(task.model, stored(task.state))
        return task.model
