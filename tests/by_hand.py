"""What tests share that work out an algorithm's numbers by hand, on the models of `toys.py`."""

import math
from collections.abc import Callable
from typing import Any

import torch
from toys import three_parameters

from fedpers.algorithm import Algorithm, Federation, Purpose, Sent, Server, State
from fedpers.config.build import build
from fedpers.config.compose import compose_config
from fedpers.config.keys import Config
from fedpers.models.staged import Staged

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


def federation(
    config: Config | None = None,
    *,
    num_clients: int = 4,
    num_classes: int = 2,
    shape: tuple[int, int, int] = (1, 1, 1),
    model: Callable[[], Staged] = three_parameters,
    initial: State | None = None,
) -> Federation:
    """Return what a server half is told of a small federation."""
    return Federation(config or Config(), num_clients, num_classes, shape, model, initial or {})


class Half:
    """A server half together with its state, for tests that play rounds.

    Args:
        server: The server half.
    """

    def __init__(self, server: Server[Any]) -> None:
        self.server, self.state = server, server.init()
        self.diagnostics: dict[str, float] = {}

    def aggregate(self, round: int, sent: dict[int, State], sizes: dict[int, int] | None = None) -> State:
        """Play a round and return what all clients are sent next; without sizes every client has one sample."""
        replies = {client: Sent(sent[client], (sizes or {}).get(client, 1)) for client in sorted(sent)}
        done = self.server.aggregate(self.state, round, replies)
        self.state, self.diagnostics = done.state, done.diagnostics
        shared: State = done.state.shared
        return shared

    def send_to(self, client: int, round: int, purpose: Purpose = "train") -> State:
        return self.server.send_to(self.state, client, round, purpose)

    def evaluated(self, round: int, accuracy: float) -> None:
        self.state = self.server.evaluated(self.state, round, accuracy)
