"""Ditto: every client trains a model of its own beside the shared one, and is held near it.

Li, Hu, Beirami and Smith, "Ditto: Fair and Robust Federated Learning Through Personalization", ICML 2021,
https://arxiv.org/abs/2012.04221, Algorithms 1 and 2.

    ClientUpdate:  w_k ← E epochs of SGD on CE(f(x; w)) from w_t
                   v_k ← E epochs of SGD on CE(f(x; v)) + λ/2 ‖v − w_t‖², from v_k
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients

The personal model is v_k, which starts from the initial weights and never leaves the client. A client that has never
been sampled uses w_t. w is FedAvg; with λ = 0, v is Local, both to the last bit.

Deviations: both solvers run the same number of epochs over the same batches. The norm is over the shared parameters.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from fedpers.algorithm import Task, Update
from fedpers.training import Batch, cross_entropy
from strategies.parts.proximal import half_squared_distance
from strategies.parts.second_model import SecondModel, store, stored
from strategies.parts.snapshots import restore, snapshot


@dataclass(frozen=True)
class Ditto(SecondModel):
    """A personal model with a proximal term.

    Args:
        lambda_prox: Weight λ of the distance from the global model.
    """

    lambda_prox: float

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("lambda_prox", self.lambda_prox >= 0, "at least 0")

    def train(self, task: Task) -> Update:
        """Train the shared model, then one's own."""
        received = {name: w.detach().clone() for name, w in task.model.named_parameters() if not task.is_personal(name)}
        shared_loss = task.fit()
        send, keep = snapshot(task.shared()), snapshot(task.personal())

        def near(model: nn.Module, batch: Batch) -> Tensor:
            return cross_entropy(model, batch) + self.lambda_prox * half_squared_distance(model, received)

        restore(task.model, stored(task.state) or task.initial)
        loss = task.fit(near if self.lambda_prox else cross_entropy)
        keep |= store(task.model.tensors())
        return Update(send=send, keep=keep, metrics={"loss": loss, "shared_loss": shared_loss})
