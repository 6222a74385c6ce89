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
SGD (`momentum=0`, `weight_decay=0`), which is checked.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedpers.client import State, Task, Update
from fedpers.config import Config
from fedpers.errors import UserError
from fedpers.federation import Federation
from fedpers.models.staged import Staged
from fedpers.training import Batch, cross_entropy
from strategies.base import Algorithm, StateServer
from strategies.parts.proximal import inner_product

SERVER, DELTA, CLIENT = "control/server/", "control/delta/", "control/client/"


@dataclass(frozen=True)
class Scaffold(Algorithm):
    """Both halves of SCAFFOLD."""

    def check(self, model: Staged, config: Config) -> None:
        """Check that clients run plain SGD."""
        for key in ("momentum", "weight_decay"):
            if getattr(config, key):
                raise UserError(f"strategy=scaffold with {key}={getattr(config, key)} is not possible. Accepted: 0")

    def server(self, federation: Federation) -> "ControlServer":
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
        scale = 1 / (steps * task.config.lr)
        moved = {name: scale * (start[name] - task.model.get_parameter(name).detach()) for name in names}
        delta = {DELTA + name: moved[name] - c[name] for name in names}
        keep = task.personal() | {CLIENT + name: own[name] + delta[DELTA + name] for name in names}
        return Update(send=task.shared() | delta, keep=keep, metrics={"loss": loss})


class ControlServer(StateServer):
    """Plain means of the models, and the server's control variate.

    Args:
        federation: What the server knows before the first round.
    """

    def __init__(self, federation: Federation) -> None:
        """Start with a control variate of 0, which need not be sent."""
        super().__init__(federation)
        self.control: State = {}

    def send_to(self, client: int, round: int) -> State:
        """Return c."""
        return self.control

    def aggregate(self, round: int, sent: dict[int, State]) -> State:
        """Take the means, and move c by its share."""
        share = len(sent) / len(self.federation.nodes)
        mean = self.plain_mean(sent)
        for key in [key for key in mean if key.startswith(DELTA)]:
            name = SERVER + key.removeprefix(DELTA)
            delta = share * mean.pop(key)
            self.control[name] = self.control[name] + delta if name in self.control else delta
        return mean
