"""FedDyn: a dynamic regularizer makes the clients' optima agree with the global one.

Acar, Zhao, Matas, Mattina, Whatmough and Saligrama, "Federated Learning Based on Dynamic Regularization", ICLR 2021,
https://arxiv.org/abs/2111.04263, Algorithm 1.

    ClientUpdate:  w_k ≈ argmin_w  CE(f(x; w)) − ⟨h_k, w⟩ + α/2 ‖w − w_t‖²,  from w_t;   h_k ← h_k − α (w_k − w_t)
    Server:        h ← h − α / N · Σ_k (w_k − w_t),   w_{t+1} = mean of w_k − h / α, over the sampled clients of N

h_k is the gradient of the client's loss at its last model, 0 at first. The norm is squared. The personal model is the
global one.

Deviations: E epochs of SGD for the argmin. Regularizer and h are over the shared parameters; buffers are averaged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from fedpers.algorithm import Aggregated, Algorithm, Federation, Sent, Server, ServerState, State, Task, Update
from fedpers.training import Batch, cross_entropy
from strategies.parts.proximal import half_squared_distance, inner_product

GRADIENT = "gradient/"


@dataclass(frozen=True)
class FedDyn(Algorithm):
    """Both halves of FedDyn.

    Args:
        alpha: Weight α of the regularizer.
    """

    averages = True

    alpha: float

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("alpha", self.alpha > 0, "above 0; 0 would be strategy=fedavg")

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return DynamicServer(federation, self.alpha)

    def train(self, task: Task) -> Update:
        """Minimize the regularized loss, then move h_k."""
        start = {name: w.detach().clone() for name, w in task.model.named_parameters() if not task.is_personal(name)}
        h = {name: task.state.get(GRADIENT + name, torch.zeros_like(w)) for name, w in start.items()}
        linear = {name: -gradient for name, gradient in h.items()}

        def regularized(model: nn.Module, batch: Batch) -> Tensor:
            near = self.alpha * half_squared_distance(model, start)
            return cross_entropy(model, batch) + inner_product(model, linear) + near

        loss = task.fit(regularized)
        moved = {name: task.model.get_parameter(name).detach() - w for name, w in start.items()}
        keep = {GRADIENT + name: h[name] - self.alpha * moved[name] for name in start}
        return Update(send=task.shared(), keep=task.personal() | keep, metrics={"loss": loss})


@dataclass(frozen=True)
class DynamicState(ServerState):
    """What the server remembers.

    Args:
        shared: w_t.
        h: h, by name of the parameter; 0 where it is not named yet.
    """

    h: State


@dataclass(frozen=True)
class DynamicServer(Server[DynamicState]):
    """The mean of the clients' models, corrected by h.

    Args:
        alpha: Weight α of the regularizer.
    """

    alpha: float

    def init(self) -> DynamicState:
        """Start with h = 0."""
        return DynamicState(self.federation.initial, {})

    def aggregate(self, state: DynamicState, round: int, sent: Mapping[int, Sent]) -> Aggregated[DynamicState]:
        """Move h, and the mean by it."""
        share = len(sent) / self.federation.num_clients
        mean, h = self.federation.average(round, sent, state.shared, plain=True), {}
        for name in self._parameters:
            moved = share * (mean[name] - state.shared[name])
            h[name] = state.h.get(name, torch.zeros_like(moved)) - self.alpha * moved
            mean[name] = mean[name] - h[name] / self.alpha
        return Aggregated(DynamicState(mean, h))

    @cached_property
    def _parameters(self) -> list[str]:
        """Names of the shared parameters; what else is shared are buffers."""
        return [name for name, _ in self.federation.model().named_parameters() if name in self.federation.initial]
