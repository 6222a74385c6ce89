"""FedDyn: a dynamic regularizer makes the clients' optima agree with the global one.

Acar, Zhao, Matas, Mattina, Whatmough and Saligrama, "Federated Learning Based on Dynamic Regularization", ICLR 2021,
https://arxiv.org/abs/2111.04263, Algorithm 1.

    ClientUpdate:  w_k ≈ argmin_w  CE(f(x; w)) − ⟨h_k, w⟩ + α/2 ‖w − w_t‖²,  from w_t;   h_k ← h_k − α (w_k − w_t)
    Server:        h ← h − α / N · Σ_k (w_k − w_t),   w_{t+1} = mean of w_k − h / α, over the sampled clients of N

h_k is the gradient of the client's loss at its last model, 0 at first. The norm is squared. The personal model is the
global one.

Deviations: E epochs of SGD for the argmin. Regularizer and h are over the shared parameters; buffers are averaged.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from torch import Tensor, nn

from fedpers import records
from fedpers.client import State, Task, Update
from fedpers.federation import Federation
from fedpers.training import Batch, cross_entropy
from strategies.base import Algorithm, StateServer
from strategies.parts.proximal import half_squared_distance, inner_product

GRADIENT = "gradient/"


@dataclass(frozen=True)
class FedDyn(Algorithm):
    """Both halves of FedDyn.

    Args:
        alpha: Weight α of the regularizer.
    """

    alpha: float

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("alpha", self.alpha > 0, "above 0; 0 would be strategy=fedavg")

    def server(self, federation: Federation) -> "DynamicServer":
        """Return the server half."""
        return DynamicServer(self.alpha, federation)

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


class DynamicServer(StateServer):
    """The mean of the clients' models, corrected by h.

    Args:
        alpha: Weight α of the regularizer.
        federation: What the server knows before the first round.
    """

    def __init__(self, alpha: float, federation: Federation) -> None:
        """Start with h = 0."""
        super().__init__(federation)
        self.alpha = alpha
        self.h: State = {}
        self.current: State = {}
        model = federation.model()
        self.names = [name for name, _ in model.named_parameters() if name in federation.initial]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember w_t."""
        self.current = records.from_record(arrays)
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate(self, round: int, sent: dict[int, State]) -> State:
        """Move h, and the mean by it."""
        share = len(sent) / len(self.federation.nodes)
        mean = self.plain_mean(sent)
        for name in self.names:
            moved = share * (mean[name] - self.current[name])
            self.h[name] = self.h.get(name, torch.zeros_like(moved)) - self.alpha * moved
            mean[name] = mean[name] - self.h[name] / self.alpha
        return mean
