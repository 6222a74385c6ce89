"""FedKD: a mentor at home and a shared mentee teach each other, and the mentee's updates travel in low rank.

Wu, Wu, Lyu, Huang and Xie, "Communication-Efficient Federated Learning via Knowledge Distillation", Nature
Communications 13, 2032, 2022, https://arxiv.org/abs/2108.13323, Eqs. 1 to 8 and Algorithm 1.

    ClientUpdate:  c = max(CE(f(x; w)) + CE(f(x; v)), c_min),  m = ‖h(x; v) − W_k h(x; w)‖² / d
                   v_k ← steps of SGD on CE(f(x; v)) + λ KL(f(x; w) ‖ f(x; v)) / c + λ_h m / c    from v_k
                   w_k ← the same steps on  CE(f(x; w)) + λ KL(f(x; v) ‖ f(x; w)) / c + λ_h m / c   from w_t
                   sends of every matrix of w_k − w_t = U Σ Vᵀ the K largest singular values and their vectors, K the
                   smallest with Σ_i≤K σ_i² ≥ T Σ_i σ_i²,  T = T_start + (T_end − T_start) t / rounds
    Server:        w_{t+1} = w_t + Σ_k (n_k / n) U_K Σ_K V_Kᵀ over the sampled clients

h is what enters the head, d values; f stands for softmax outputs inside KL. The more wrong both models are, the less
they teach each other. The personal model is the mentor v_k, which starts from the initial weights and never leaves, as
W_k never does. A client that was never sampled uses w_t. With λ = λ_h = 0, v is Local; with T = 1 besides, w is FedAvg.

Deviations: c_min, which is 0 in the paper: there a model that knows its samples by heart is driven by m / c alone, and
diverges. Mentor and mentee have one architecture, where the paper's mentee is smaller; λ and λ_h are 1 in the paper.
The other's answers and c are constants in a model's loss. W_k starts as the identity. Attention is not distilled:
there is none. Updates are those of a round, not of a step. The server sends w_t whole, for clients come and go; what is
not less to send in low rank, and what is no matrix, is sent whole.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.algorithm import Federation, Server, Task, Update
from fedpers.config.keys import Config
from fedpers.device import to_device
from fedpers.models.staged import Staged
from fedpers.training import Batch
from strategies.parts.answers import distill
from strategies.parts.low_rank import RANKS, LowRankServer, compress
from strategies.parts.second_model import SecondModel, store, stored
from strategies.parts.snapshots import restore, snapshot

PROJECTION = "projection/hidden"


@dataclass(frozen=True)
class FedKD(SecondModel):
    """Mutual distillation, weighted by how right both models are, and updates in low rank.

    Args:
        lambda_kd: Weight λ of each other's answers.
        lambda_hidden: Weight λ_h of the distance between representations.
        min_loss: Smallest sum c_min of both losses that teaching is divided by.
        energy_start: Share T_start of an update's squared singular values that is sent at first.
        energy_end: Share T_end that is sent in the last round.
    """

    lambda_kd: float
    lambda_hidden: float
    min_loss: float
    energy_start: float
    energy_end: float
    varies = RANKS
    averages = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        for key in ("lambda_kd", "lambda_hidden", "min_loss"):
            self.require(key, getattr(self, key) >= 0, "at least 0")
        for key in ("energy_start", "energy_end"):
            self.require(key, 0 < getattr(self, key) <= 1, "above 0, at most 1")

    def bound_to_rounds(self, config: Config) -> str:
        """Say that the energy rises over all rounds, unless it stays."""
        rises = self.energy_start != self.energy_end
        return "the share of energy that is sent rises from the first round to the last" if rises else ""

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return LowRankServer(federation)

    def train(self, task: Task) -> Update:
        """Train both models at once, then send what counts of the mentee's update."""
        before = snapshot(task.shared())
        mentor = copy.deepcopy(task.model).train()
        restore(mentor, stored(task.state) or task.initial)
        projection = self._projection(task).requires_grad_()

        def both(model: nn.Module, batch: Batch) -> Tensor:
            return self._loss(model, mentor, projection, batch)

        loss = task.fit(both, parameters=[*task.model.parameters(), *mentor.parameters(), projection])
        keep = task.personal() | store(mentor.tensors()) | {PROJECTION: projection.detach()}
        progress = task.round / task.config.rounds
        energy = self.energy_start + (self.energy_end - self.energy_start) * progress
        return Update(send=compress(task.shared(), before, energy), keep=keep, metrics={"loss": loss})

    @torch.no_grad()
    def _projection(self, task: Task) -> Tensor:
        if PROJECTION in task.state:
            return task.state[PROJECTION].clone()
        h = task.model.eval().features(task.data.train.inputs[:1])
        return to_device(torch.eye(h.shape[1]), h.device)

    def _loss(self, model: nn.Module, mentor: Staged, projection: Tensor, batch: Batch) -> Tensor:
        assert isinstance(model, Staged)
        h_w, w = model.features_and_logits(batch.inputs)
        h_v, v = mentor.features_and_logits(batch.inputs)
        labels = F.cross_entropy(w, batch.labels) + F.cross_entropy(v, batch.labels)
        taught = labels.new_zeros(())
        if self.lambda_kd:
            mutual = distill(w, v.detach().softmax(1), 1.0) + distill(v, w.detach().softmax(1), 1.0)
            taught = taught + self.lambda_kd * mutual.mean()
        if self.lambda_hidden:
            taught = taught + self.lambda_hidden * F.mse_loss(h_w @ projection.T, h_v)
        return labels + taught / labels.detach().clamp_min(max(self.min_loss, torch.finfo(labels.dtype).tiny))
