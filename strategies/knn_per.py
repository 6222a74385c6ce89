"""kNN-Per: FedAvg's model, interpolated with the nearest neighbours among a client's own training samples.

Marfoq, Neglia, Kameni and Vidal, "Personalized Federated Learning through Local Memorization", ICML 2022,
https://arxiv.org/abs/2111.09360, Eqs. 7 to 9 and Algorithm 1.

    h(x) = what enters the head of w_t
    p_kNN(y | x) ∝ Σ exp(−‖h(x) − h(x_i)‖ / σ) over those of x's nearest training samples x_i whose label is y
    p(y | x) = λ_k p_kNN(y | x) + (1 − λ_k) softmax(f(x; w_t))_y

w is FedAvg. The personal model is p; its memory is made from w_t and the client's own training samples whenever it is
used and never leaves, so that a client that has never been sampled has one like any other. With λ = 0 this is FedAvg,
to the last bit.

Deviations: λ_k = `auto` is the one of 0, 0.1, ..., 1 with the lowest loss on the client's validation samples (of equals
the smallest, 0.5 without any such samples), as in the paper's experiments, where it is chosen by accuracy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedpers.algorithm import Algorithm, Task
from fedpers.models.staged import Staged
from strategies.parts.answers import representations
from strategies.parts.mixtures import Mixture, answered, least_loss, mixed

AUTO = "auto"


@dataclass(frozen=True)
class KNNPer(Algorithm):
    """Local memorization.

    Args:
        lambda_knn: Share λ_k of the neighbours' answer, or auto: chosen by each client's validation samples.
        neighbours: Number of neighbours.
        sigma: Distance σ at which a neighbour counts 1/e.
    """

    lambda_knn: float | str
    neighbours: int
    sigma: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        share = self.lambda_knn
        valid = share == AUTO if isinstance(share, str) else 0 <= share <= 1
        self.require("lambda_knn", valid, "0 to 1, or auto")
        self.require("neighbours", self.neighbours >= 1, "at least 1")
        self.require("sigma", self.sigma > 0, "above 0")

    def personalize(self, task: Task) -> Staged:
        """Return the model with the memory beside its head."""
        if self.lambda_knn == 0 or not len(task.data.train):
            return task.model
        model, memory = task.model, representations(task.model, task.data.train)
        labels, classes = task.data.train.labels, task.data.num_classes
        answers = Neighbours(model[-1], memory, labels, classes, self.neighbours, self.sigma)
        beside = model.with_head(answers)
        if self.lambda_knn != AUTO:
            answers.share = float(self.lambda_knn)
        elif len(task.data.val):
            own, near = answered(beside, answers, task.data.val)
            shares = (tenth / 10 for tenth in range(11))
            answers.share = least_loss(((s, mixed(own, near, s)) for s in shares), task.data.val.labels)
        return beside


class Neighbours(Mixture):
    """A head beside a memory of representations; answers are log-probabilities.

    Args:
        head: Maps representations (n, ...) to logits.
        memory: Representations (m, d).
        labels: Their labels (m,).
        num_classes: Number of classes.
        neighbours: Number of neighbours; all of the memory if it has fewer.
        sigma: Distance at which a neighbour counts 1/e.
        share: The share of the neighbours' answer; both count alike until another is set.
    """

    def __init__(
        self,
        head: nn.Module,
        memory: Tensor,
        labels: Tensor,
        num_classes: int,
        neighbours: int,
        sigma: float,
        share: float = 0.5,
    ) -> None:
        """Keep the memory, which is no parameter."""
        super().__init__(share)
        self.head, self.memory, self.labels, self.num_classes = head, memory, labels, num_classes
        self.neighbours, self.sigma = min(neighbours, len(labels)), sigma

    def recipe(self) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
        """Return what makes it again."""
        names = ("head", "memory", "labels", "num_classes", "neighbours", "sigma", "share")
        return Neighbours, {name: getattr(self, name) for name in names}

    def answers(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the head and the neighbours say of representations (n, ...): both (n, classes)."""
        distances = torch.cdist(hidden.flatten(1), self.memory, compute_mode="donot_use_mm_for_euclid_dist")
        nearest, index = distances.topk(self.neighbours, dim=1, largest=False)
        weights = (-nearest / self.sigma).softmax(1)
        near = weights.new_zeros(len(weights), self.num_classes).scatter_add_(1, self.labels[index], weights)
        return self.head(hidden).softmax(1), near
