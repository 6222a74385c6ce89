"""Prototypes: one mean representation for each class, what a model learns from them, and how it answers by them.

Tan et al., "FedProto: Federated Prototype Learning across Heterogeneous Clients", AAAI 2022,
https://arxiv.org/abs/2105.00243, Eqs. 3 to 7.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.algorithm import State
from fedpers.models.staged import Staged
from fedpers.training import Batch, Objective, cross_entropy
from strategies.parts.class_means import Means

MEAN, COUNT = "prototypes/mean", "labels/count"
"""What a client sends: its means, and its samples of each class."""

GLOBAL, CLASS = "prototypes/global", "labels/class"
"""What a client is sent: prototypes, and the classes that they stand for."""


def near_prototypes(received: State, weight: float) -> Objective:
    """Return CE(f(x), y) + weight ‖h(x) − C_y‖² / d on classes y with a prototype, for those that the server sent."""
    if GLOBAL not in received or not weight:
        return cross_entropy
    rows, classes = received[GLOBAL], received[CLASS]

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, Staged)
        features, logits = model.features_and_logits(batch.inputs)
        match = batch.labels[:, None] == classes
        distance = (features - match.to(rows.dtype) @ rows).square().mean(1)
        near = (distance * match.any(1)).mean()
        return F.cross_entropy(logits, batch.labels) + weight * near

    return loss


def mean_prototypes(known: Iterable[Means]) -> State:
    """Return C_y = Σ_k n_ky C_ky / Σ_k n_ky for each class that some client holds, as clients are sent it.

    Nothing where nobody holds any: all that was sent may be noise of privacy.
    """
    known = list(known)
    total = torch.stack([each.count for each in known]).sum(0)
    sums = torch.zeros(len(total), known[0].mean.shape[1])
    for each in known:
        present = each.count > 0
        sums[present] += each.count[present, None] * each.mean
    held = total > 0
    if not held.any():
        return {}
    return {GLOBAL: sums[held] / total[held, None], CLASS: held.nonzero().flatten()}


class NearestPrototype(nn.Module):
    """Answer −‖h − C_y‖² for each class; a class without a prototype is answered below all others.

    Args:
        prototypes: (known, d).
        classes: (known,) the classes that they stand for.
        num_classes: Number of logits.
    """

    def __init__(self, prototypes: Tensor, classes: Tensor, num_classes: int) -> None:
        """Keep the prototypes; they are no parameters."""
        super().__init__()
        self.prototypes, self.classes, self.num_classes = prototypes, classes, num_classes

    def recipe(self) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
        """Return what makes it again."""
        known = {"prototypes": self.prototypes, "classes": self.classes, "num_classes": self.num_classes}
        return NearestPrototype, known

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits (n, classes) for representations (n, ...)."""
        logits = -(hidden.flatten(1)[:, None] - self.prototypes).square().sum(2)
        lowest = logits.min(1, keepdim=True).values - 1
        return lowest.repeat(1, self.num_classes).index_copy(1, self.classes, logits)
