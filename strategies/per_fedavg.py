"""Per-FedAvg: a shared initialization from which one step of gradient makes a good model for each client.

Fallah, Mokhtari and Ozdaglar, "Personalized Federated Learning with Theoretical Guarantees: A Model-Agnostic
Meta-Learning Approach", NeurIPS 2020, https://arxiv.org/abs/2002.07948, Algorithm 1, in its first-order form (FO).

    w̃ = w − a ∇CE(f(x; w)) on the first half of a batch
    ClientUpdate:  w ← w − η ∇CE(f(x; w̃)) on its second half, E epochs from w_t
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients
    Client's own:  w_t − a ∇CE(f(x; w_t)) over all training samples

The personal model is the adapted one; it is made for every evaluation and forgotten, so that a client that has never
been sampled has one like any other.

Deviations: the two batches of a step are the halves of one (a batch of one sample serves twice). The adaptation before
use is by all training samples. Second-order terms and their Hessian-free estimate are left out.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fedpers.client import Task, Update
from fedpers.models.staged import Staged
from fedpers.training import Batch, fit, sgd
from strategies.base import Algorithm


@dataclass(frozen=True)
class PerFedAvg(Algorithm):
    """First-order meta-learning.

    Args:
        adaptation_lr: Step size a of the adaptation.
    """

    adaptation_lr: float

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("adaptation_lr", self.adaptation_lr >= 0, "at least 0")

    def train(self, task: Task) -> Update:
        """Train the initialization."""
        return Update(send=task.shared(), keep=task.personal(), metrics={"loss": task.fit(self.meta_loss)})

    def meta_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss after one step; its gradient by w is that by w̃."""
        half = len(batch.labels) // 2
        first, second = (slice(0, half), slice(half, None)) if half else (slice(None), slice(None))
        names, parameters = zip(*model.named_parameters(), strict=True)
        before = F.cross_entropy(model(batch.inputs[first]), batch.labels[first])
        gradients = torch.autograd.grad(before, parameters)
        adapted = {
            name: w - self.adaptation_lr * gradient
            for name, w, gradient in zip(names, parameters, gradients, strict=True)
        }
        return F.cross_entropy(functional_call(model, adapted, (batch.inputs[second],)), batch.labels[second])

    def personalize(self, task: Task) -> Staged:
        """Take one step from w_t."""
        if self.adaptation_lr:
            fit(
                task.model,
                task.data.train,
                epochs=1,
                batch_size=len(task.data.train),
                optimizer=sgd(task.model.parameters(), self.adaptation_lr),
                generator=task.generator("personalize"),
            )
        return task.model
