"""FedNTD: clients keep what the global model knows of the classes that a sample does not have.

Lee, Jeong, Shin, Bae and Yun, "Preservation of the Global Knowledge by Not-True Distillation in Federated Learning",
NeurIPS 2022, https://arxiv.org/abs/2106.03097, Eqs. 2 and 3.

    q̃(c | x) = softmax over c ≠ y of f_c(x)/T
    ClientUpdate:  w_k ← E epochs of SGD on CE(f(x; w)) + β T² KL(q̃(x; w_t) ‖ q̃(x; w)) from w_t
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients

The personal model is the global one. With β = 0 this is FedAvg, to the last bit.

Deviations: T² keeps the term's gradient at one size for all T (the paper has T = 1, where it is 1). The teacher answers
in evaluation mode, once a round.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.algorithm import Algorithm, Task, Update
from fedpers.training import Batch, Objective, cross_entropy
from strategies.parts.answers import answers, distill


@dataclass(frozen=True)
class FedNTD(Algorithm):
    """Not-true distillation.

    Args:
        beta: Weight β of the distillation.
        temperature: Temperature T of both distributions.
    """

    beta: float
    temperature: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("beta", self.beta >= 0, "at least 0")
        self.require("temperature", self.temperature > 0, "above 0")

    def train(self, task: Task) -> Update:
        """Learn from the labels and, of the other classes, from the global model."""
        loss = task.fit(self._objective(task) if self.beta else cross_entropy)
        return Update(send=task.shared(), keep=task.personal(), metrics={"loss": loss})

    def _objective(self, task: Task) -> Objective:
        teacher = answers(task.model, task.data.train)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            logits = model(batch.inputs)
            others = not_true(logits, batch.labels)
            target = (not_true(teacher[batch.index], batch.labels) / self.temperature).softmax(1)
            return F.cross_entropy(logits, batch.labels) + self.beta * distill(others, target, self.temperature).mean()

        return loss


def not_true(logits: Tensor, labels: Tensor) -> Tensor:
    """Return logits (n, classes) without each sample's own class: (n, classes - 1)."""
    others = torch.ones_like(logits, dtype=torch.bool).scatter(1, labels[:, None], False)
    return logits[others].view(len(labels), -1)
