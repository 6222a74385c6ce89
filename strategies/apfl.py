"""APFL: every client mixes the shared model with one of its own, in proportions that it learns.

Deng, Kamani and Mahdavi, "Adaptive Personalized Federated Learning", 2020, https://arxiv.org/abs/2003.13461,
Algorithm 1 and Eq. 10.

    v̄_k = α_k v_k + (1 − α_k) w_k
    ClientUpdate:  α_k ← α_k − η ⟨v_k − w_t, ∇CE(f(x; v̄_k))⟩, once a round, kept in [0, 1]
                   w_k ← w_k − η ∇CE(f(x; w_k))                    from w_t
                   v_k ← v_k − η ∇_v CE(f(x; α_k v_k + (1 − α_k) w_k))     = v_k − η α_k ∇CE(f(x; v̄_k))
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients

The personal model is α_k v_k + (1 − α_k) w_t. v_k starts from the initial weights; v_k and α_k never leave the client.
A client that has never been sampled uses w_t. With α fixed at 1 this is Local, with α fixed at 0 FedAvg.

Deviations: α's gradient is that of all training samples, taken before the round's first step; the paper's is a
mini-batch's. BatchNorm statistics are not mixed: w_k and v̄_k have their own.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fedpers.algorithm import Algorithm, State, Task, Update
from fedpers.models.staged import Staged
from fedpers.training import Batch
from strategies.parts.second_model import second, store, stored
from strategies.parts.snapshots import restore

ALPHA = "mixture/alpha"


@dataclass(frozen=True)
class APFL(Algorithm):
    """An adaptive mixture of the shared and the personal model.

    Args:
        alpha: Share α of the personal model, at first.
        adaptive: Learn α.
    """

    alpha: float
    adaptive: bool

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("alpha", 0 <= self.alpha <= 1, "0 to 1")

    def train(self, task: Task) -> Update:
        """Train both models at once; the mixture's gradient reaches the personal one only."""
        model = task.model
        names = dict(model.named_parameters())
        v, buffers = second(task)
        alpha = float(task.state[ALPHA]) if ALPHA in task.state else self.alpha
        if self.adaptive:
            alpha = min(1.0, max(0.0, alpha - task.lr * self._slope(task, v, buffers, alpha)))

        def both(model: nn.Module, batch: Batch) -> Tensor:
            mixture = {name: alpha * v[name] + (1 - alpha) * w.detach() for name, w in names.items()}
            mixed = functional_call(model, mixture | buffers, (batch.inputs,))
            return F.cross_entropy(model(batch.inputs), batch.labels) + F.cross_entropy(mixed, batch.labels)

        loss = task.fit(both, parameters=[*names.values(), *v.values()])
        keep = task.personal() | store(v | buffers)
        keep[ALPHA] = torch.tensor([alpha])
        return Update(send=task.shared(), keep=keep, metrics={"loss": loss, "alpha": alpha})

    def _slope(self, task: Task, v: State, buffers: State, alpha: float) -> float:
        """Return the derivative of the mixture's loss on all training samples by α: ⟨v − w, ∇CE(f(x; v̄))⟩."""
        w = {name: parameter.detach() for name, parameter in task.model.named_parameters()}
        mixture = {name: (alpha * v[name] + (1 - alpha) * w[name]).detach().requires_grad_() for name in w}
        task.model.eval()
        slope = 0.0
        for batch in task.data.train.in_order(task.config.batch_size):
            logits = functional_call(task.model, mixture | buffers, (batch.inputs,))
            loss = F.cross_entropy(logits, batch.labels, reduction="sum") / len(task.data.train)
            gradients = torch.autograd.grad(loss, list(mixture.values()))
            slope += sum(float(((v[n] - w[n]).detach() * g).sum()) for n, g in zip(mixture, gradients, strict=True))
        return slope

    def personalize(self, task: Task) -> Staged:
        """Return the mixture of one's own model with the one received."""
        own = stored(task.state)
        if own:
            alpha, w = float(task.state[ALPHA]), task.model.tensors()
            mixed = {name: alpha * own[name] + (1 - alpha) * w[name] for name, _ in task.model.named_parameters()}
            restore(task.model, own | mixed)
        return task.model
