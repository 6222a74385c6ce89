"""FML: a shared model and one's own teach each other.

Shen, Zhang, Jia, Zhang, Huang, Zhou, Kuang, Wu and Wu, "Federated Mutual Learning", 2020,
https://arxiv.org/abs/2006.16765, Eqs. 4 and 5 and Algorithm 1.

    ClientUpdate:  v_k ← E epochs of SGD on α CE(f(x; v)) + (1 − α) KL(f(x; w) ‖ f(x; v))      from v_k
                   w_k ← the same steps of SGD on β CE(f(x; w)) + (1 − β) KL(f(x; v) ‖ f(x; w)) from w_t
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients

f stands for softmax outputs inside KL; each model is a constant in the other's loss. The personal model is v_k, which
starts from the initial weights and never leaves; w is the paper's meme model. A client that was never sampled uses w_t.
With α = 1, v is Local; with β = 1, w is FedAvg.

Deviations: both models have one architecture, where the paper lets clients choose that of v.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fedpers.algorithm import Task, Update
from fedpers.training import Batch
from strategies.parts.answers import distill
from strategies.parts.second_model import SecondModel, second, store


@dataclass(frozen=True)
class FML(SecondModel):
    """Mutual learning of a shared and a personal model.

    Args:
        alpha: Share α of the labels in the personal model's loss.
        beta: Share β of the labels in the shared model's loss.
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("alpha", 0 <= self.alpha <= 1, "0 to 1")
        self.require("beta", 0 <= self.beta <= 1, "0 to 1")

    def train(self, task: Task) -> Update:
        """Train both models at once."""
        v, buffers = second(task)

        def both(model: nn.Module, batch: Batch) -> Tensor:
            shared = model(batch.inputs)
            own = functional_call(model, v | buffers, (batch.inputs,))
            return self._loss(own, shared, batch.labels, self.alpha) + self._loss(shared, own, batch.labels, self.beta)

        loss = task.fit(both, parameters=[*task.model.parameters(), *v.values()])
        keep = task.personal() | store(v | buffers)
        return Update(send=task.shared(), keep=keep, metrics={"loss": loss})

    def _loss(self, logits: Tensor, teacher: Tensor, labels: Tensor, share: float) -> Tensor:
        taught = distill(logits, teacher.detach().softmax(1), 1.0).mean()
        return share * F.cross_entropy(logits, labels) + (1 - share) * taught
