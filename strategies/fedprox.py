"""FedProx: FedAvg whose clients are held near the global model.

Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, "Federated Optimization in Heterogeneous Networks", MLSys 2020,
https://arxiv.org/abs/1812.06127, Algorithm 2.

    ClientUpdate:  w_k ≈ argmin_w  CE(f(x; w), y) + μ/2 ‖w − w_t‖²,  from w_t
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients, n = Σ_k n_k

The norm is over the shared parameters; buffers and what stays with its client are left out. The personal model is the
global one. With μ = 0 this is FedAvg, to the last bit.

Deviations: every client runs the same number of local epochs of SGD, where the paper accepts any γ-inexact minimizer
and lets slow clients do less. Clients are sampled uniformly, by the run's seed, and averaged by n_k, as in FedAvg; the
paper samples with probability n_k / n and averages evenly.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from fedpers.algorithm import Algorithm, Task, Update
from fedpers.training import Batch, cross_entropy
from strategies.parts.proximal import half_squared_distance


@dataclass(frozen=True)
class FedProx(Algorithm):
    """Local training with a proximal term.

    Args:
        mu: Weight μ of the proximal term.
    """

    mu: float

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("mu", self.mu >= 0, "at least 0")

    def train(self, task: Task) -> Update:
        """Train near the global model."""
        parameters = task.model.named_parameters()
        received = {name: w.detach().clone() for name, w in parameters if not task.is_personal(name)}

        def proximal_loss(model: nn.Module, batch: Batch) -> Tensor:
            return cross_entropy(model, batch) + self.mu * half_squared_distance(model, received)

        loss = task.fit(proximal_loss if self.mu else cross_entropy)
        return Update(send=task.shared(), keep=task.personal(), metrics={"loss": loss})
