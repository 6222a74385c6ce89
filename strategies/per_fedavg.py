"""Per-FedAvg: a shared initialization from which one step of gradient makes a good model for each client.

Fallah, Mokhtari and Ozdaglar, "Personalized Federated Learning with Theoretical Guarantees: A Model-Agnostic
Meta-Learning Approach", NeurIPS 2020, https://arxiv.org/abs/2002.07948, Algorithm 1, in both of its approximations.

    w̃ = w − a ∇CE(f(x; w)) on one part of a batch, g = ∇CE(f(x; w̃)) on a second one
    ClientUpdate:  w ← w − η g                                                          first order (FO)
                   w ← w − η (g − a (∇CE(f(x; w + δ g)) − ∇CE(f(x; w − δ g))) / 2δ)     Hessian-free (HF), a third part
                   E epochs from w_t
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients
    Client's own:  w_t − a ∇CE(f(x; w_t)) over all training samples

The personal model is the adapted one; it is made for every evaluation and forgotten, so that a client that has never
been sampled has one like any other.

Deviations: the batches of a step are parts of one: halves, or thirds; a batch with fewer samples serves whole each
time. The adaptation before use is by all training samples.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fedpers.algorithm import Algorithm, Task, Update
from fedpers.models.staged import Staged
from fedpers.training import Batch, fit, sgd


@dataclass(frozen=True)
class PerFedAvg(Algorithm):
    """Model-agnostic meta-learning without second derivatives.

    Args:
        adaptation_lr: Step size a of the adaptation.
        hessian_delta: Step size δ of the Hessian-free estimate; None: first order.
    """

    adaptation_lr: float
    hessian_delta: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("adaptation_lr", self.adaptation_lr >= 0, "at least 0")
        self.require("hessian_delta", self.hessian_delta is None or self.hessian_delta > 0, "above 0, or null")

    def train(self, task: Task) -> Update:
        """Train the initialization."""
        return Update(send=task.shared(), keep=task.personal(), metrics={"loss": task.fit(self.meta_loss)})

    def meta_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss after one step; its gradient by w is that of FO or HF."""
        names, parameters = zip(*model.named_parameters(), strict=True)

        def loss(weights: Sequence[Tensor], part: slice) -> Tensor:
            logits = functional_call(model, dict(zip(names, weights, strict=True)), (batch.inputs[part],))
            return F.cross_entropy(logits, batch.labels[part])

        def moved(step: float, direction: Sequence[Tensor]) -> list[Tensor]:
            return [w + step * d for w, d in zip(parameters, direction, strict=True)]

        first, second, *third = _parts(len(batch.labels), 2 if self.hessian_delta is None else 3)
        gradient = torch.autograd.grad(loss(parameters, first), parameters)
        after = loss(moved(-self.adaptation_lr, gradient), second)
        if self.hessian_delta is None:
            return after
        g = torch.autograd.grad(after, parameters, retain_graph=True)
        difference = loss(moved(self.hessian_delta, g), third[0]) - loss(moved(-self.hessian_delta, g), third[0])
        correction = self.adaptation_lr / (2 * self.hessian_delta) * difference
        return after - (correction - correction.detach())

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


def _parts(size: int, number: int) -> list[slice]:
    """Divide a batch into consecutive parts; one with too few samples serves whole each time."""
    bounds = [i * size // number for i in range(number + 1)]
    if size < number:
        return [slice(None)] * number
    return [slice(start, end) for start, end in itertools.pairwise(bounds)]
