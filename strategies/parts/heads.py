"""Small networks on flat vectors that a server trains: heads on representations, generators of them."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import nn

from fedpers.algorithm import State
from fedpers.device import to_host


class _Linear(nn.Linear):
    """A linear layer that is about to be given its weights."""

    def reset_parameters(self) -> None:
        """Leave them as they are."""


class Head(nn.Sequential):
    """A network on a flat vector; what it is made of follows from the names and shapes of its weights."""

    def recipe(self) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
        """Return what makes it again."""
        return head_of, {"weights": self.state_dict()}


def make_head(
    width: int, hidden: int, num_classes: int, *, norm: bool = False, linear: type[nn.Linear] = nn.Linear
) -> Head:
    """Build a network on a flat vector: perhaps a LayerNorm, a hidden layer unless its width is 0, logits."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if norm:
        layers["norm"] = nn.LayerNorm(width)
    if hidden:
        layers["hidden"] = linear(width, hidden)
        layers["relu"] = nn.ReLU()
    layers["logits"] = linear(hidden or width, num_classes)
    return Head(layers)


def head_of(weights: State) -> Head:
    """Return the network that `make_head` built, from its weights, which it holds as they are: nothing is copied."""
    first = weights.get("hidden.weight", weights["logits.weight"])
    hidden = len(first) if "hidden.weight" in weights else 0
    num_classes = len(weights["logits.bias"])
    head = make_head(first.shape[1], hidden, num_classes, norm="norm.weight" in weights, linear=_Linear)
    head.load_state_dict(weights, assign=True)
    return head


def copied_weights(network: nn.Module) -> State:
    """Return copies of a network's weights, on the CPU."""
    return to_host({key: tensor.detach().clone() for key, tensor in network.state_dict().items()})


def frozen_head(received: State, prefix: str) -> nn.Module | None:
    """Return the network that the server sent under a prefix, if it did; its weights are constants to the client."""
    state = {key.removeprefix(prefix): tensor.float() for key, tensor in received.items() if key.startswith(prefix)}
    return head_of(state).requires_grad_(False) if state else None
