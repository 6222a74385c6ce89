"""SCAFFOLD: control variates take the drift of each client out of its steps.

Karimireddy, Kale, Mohri, Reddi, Stich and Suresh, "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning",
ICML 2020, https://arxiv.org/abs/1910.06378, Algorithm 1, Option II.

    ClientUpdate:  y_k ← y_k − η (∇CE(f(x; y_k)) − c_k + c), K steps from w_t
                   c_k⁺ = c_k − c + (w_t − y_k) / (K η);   sends y_k and Δc_k = c_k⁺ − c_k
    Server:        w_{t+1} = mean of y_k,   c ← c + |S| / N · mean of Δc_k, over the sampled clients S of N

The personal model is the global one. All c are 0 at first: the first round is FedAvg's, with plain means.

It asks for small steps (the paper's Theorem 1: K η of the order of 1/81 of the inverse smoothness): where FedAvg still
learns, large ones let the control variates grow without bound.

Deviations: the server's step size is 1. Control variates are those of parameters that are shared; they suppose plain
SGD (`momentum=0`, `weight_decay=0`, `accumulate=1`, `optimizer=sgd`), which is checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedpers.algorithm import (
    Aggregated,
    Algorithm,
    Federation,
    Purpose,
    Sent,
    Server,
    ServerState,
    State,
    Task,
    Update,
)
from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.models.staged import Staged
from fedpers.training import Batch, cross_entropy
from strategies.parts.proximal import inner_product

SERVER, DELTA, CLIENT = "control/server/", "control/delta/", "control/client/"


@dataclass(frozen=True)
class Scaffold(Algorithm):
    """Both halves of SCAFFOLD."""

    sends = ("weights", "control")
    receives = ("weights", "control")
    averages = True

    def needs(self, config: Config) -> dict[str, Any]:
        """Return plain SGD."""
        plain: dict[str, Any] = {"momentum": 0, "weight_decay": 0, "accumulate": 1, "optimizer": {}}
        return {key: value for key, value in plain.items() if getattr(config, key) != value}

    def check(self, model: Staged, config: Config) -> None:
        """Check that clients run plain SGD."""
        for key, value in self.needs(config).items():
            found, accepted = getattr(config, key), value
            if key == "optimizer":
                found, accepted = config.choices.get(key, found), "sgd"
            raise UserError(f"strategy=scaffold with {key}={found} is not possible. Accepted: {accepted}")

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return ControlServer(federation)

    def train(self, task: Task) -> Update:
        """Train with corrected gradients, then move one's own control variate."""
        names = [name for name, _ in task.model.named_parameters() if not task.is_personal(name)]
        start = {name: task.model.get_parameter(name).detach().clone() for name in names}
        zero = {name: torch.zeros_like(w) for name, w in start.items()}
        c = {name: task.received.get(SERVER + name, zero[name]) for name in names}
        own = {name: task.state.get(CLIENT + name, zero[name]) for name in names}
        correction = {name: c[name] - own[name] for name in names}
        steps = 0

        def corrected(model: nn.Module, batch: Batch) -> Tensor:
            nonlocal steps
            steps += 1
            return cross_entropy(model, batch) + inner_product(model, correction)

        loss = task.fit(corrected)
        scale = 1 / (steps * task.lr)
        moved = {name: scale * (start[name] - task.model.get_parameter(name).detach()) for name in names}
        delta = {DELTA + name: moved[name] - c[name] for name in names}
        keep = task.personal() | {CLIENT + name: own[name] + delta[DELTA + name] for name in names}
        return Update(send=task.shared() | delta, keep=keep, metrics={"loss": loss})


@dataclass(frozen=True)
class ControlState(ServerState):
    """What the server remembers.

    Args:
        shared: w_t.
        control: c, as clients are sent it; at first it is 0 and need not be sent.
    """

    control: State


class ControlServer(Server[ControlState]):
    """Plain means of the models, and the server's control variate."""

    def init(self) -> ControlState:
        """Start with a control variate of 0."""
        return ControlState(self.federation.initial, {})

    def send_to(self, state: ControlState, client: int, round: int, purpose: Purpose) -> State:
        """Return c."""
        return state.control if purpose == "train" else {}

    def aggregate(self, state: ControlState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ControlState]:
        """Take the means, and move c by its share."""
        share = len(sent) / self.federation.num_clients
        mean, control = self.federation.average(round, sent, state.shared, plain=True), dict(state.control)
        for key in [key for key in mean if key.startswith(DELTA)]:
            name = SERVER + key.removeprefix(DELTA)
            delta = share * mean.pop(key)
            control[name] = control[name] + delta if name in control else delta
        return Aggregated(ControlState(mean, control))
