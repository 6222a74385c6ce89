"""FedRoD: one representation with two heads, a generic one that is fair to all classes and a personal one.

Chen and Chao, "On Bridging Generic and Personalized Federated Learning for Image Classification", ICLR 2022,
https://arxiv.org/abs/2107.00778, Eqs. 4 to 6 and Algorithm 1, with linear personal heads.

    g = f(x; w) the generic logits, z what enters the head, p = φ_k(z) the personal logits
    ClientUpdate:  w_k ← E epochs of SGD on −log(n_y exp(g_y) / Σ_c n_c exp(g_c)) from w_t
                   φ_k ← the same steps of SGD on CE(g + φ(z)), g and z being constants
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients

n_c are the client's training samples of class c. The personal model is g + p. φ_k has the head's form, starts at zero
and never leaves. A client that has never been sampled uses w_t. Where every client holds equally many samples of all
classes, w is FedAvg.

Deviations: the paper's second form, in which a hypernetwork makes φ_k from class frequencies, is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fedpers.algorithm import Algorithm, State, Task, Update
from fedpers.models.staged import Staged
from fedpers.training import Batch
from strategies.parts.second_model import store, stored


@dataclass(frozen=True)
class FedRoD(Algorithm):
    """Robust decoupling of a generic and a personal head."""

    def train(self, task: Task) -> Update:
        """Train the shared model by the balanced loss and the personal head by the plain one."""
        head = {name: w.clone().requires_grad_() for name, w in _personal_head(task).items()}
        count = task.data.train.labels.bincount(minlength=task.data.num_classes)

        def both(model: nn.Module, batch: Batch) -> Tensor:
            assert isinstance(model, Staged)
            hidden = model.run_to(batch.inputs, len(model) - 1)
            generic = model.run_from(hidden, len(model) - 1)
            own = functional_call(model[-1], head, (hidden.detach(),))
            personal_loss = F.cross_entropy(generic.detach() + own, batch.labels)
            return balanced_loss(generic, batch.labels, count) + personal_loss

        loss = task.fit(both, parameters=[*task.model.parameters(), *head.values()])
        keep = task.personal() | store(head)
        return Update(send=task.shared(), keep=keep, metrics={"loss": loss})

    def personalize(self, task: Task) -> Staged:
        """Return the model with both heads."""
        if not stored(task.state):
            return task.model
        return task.model.with_head(TwoHeads(task.model[-1], _personal_head(task)))


def _personal_head(task: Task) -> State:
    """Return φ_k by the names of the head's parameters."""
    initial = {name: torch.zeros_like(w) for name, w in task.model[-1].named_parameters()}
    return stored(task.state) or initial


def balanced_loss(logits: Tensor, labels: Tensor, count: Tensor) -> Tensor:
    """Return the mean balanced softmax loss; a class that the client lacks takes no part.

    Args:
        logits: (n, classes).
        labels: (n,) classes with a count above 0.
        count: (classes,) the client's training samples of each class.
    """
    return F.cross_entropy(logits + count.to(logits.dtype).log(), labels)


class TwoHeads(nn.Module):
    """The sum of a head's logits and those of the same head with other weights.

    Args:
        head: Maps representations to logits.
        weights: The personal head's weights by the names of the head's parameters.
    """

    def __init__(self, head: nn.Module, weights: State) -> None:
        """Keep both; the personal weights are no parameters."""
        super().__init__()
        self.head, self.weights = head, weights

    def recipe(self) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
        """Return what makes it again."""
        return TwoHeads, {"head": self.head, "weights": self.weights}

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits (n, classes) for representations (n, ...)."""
        logits: Tensor = self.head(hidden) + functional_call(self.head, self.weights, (hidden,))
        return logits
