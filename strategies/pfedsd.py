"""pFedSD: clients distil what their personal model knew before the shared one overwrote it.

Jin, Bai, Yao, Dang, Luo and Chen, "Personalized Edge Intelligence via Federated Self-Knowledge Distillation", IEEE
Transactions on Parallel and Distributed Systems 34(2), 2022, https://doi.org/10.1109/TPDS.2022.3225185, Algorithm 1.

    ClientUpdate:  v_k ← E epochs of SGD on CE(f(x; w)) + λ T² KL(softmax(f(x; v_k)/T) ‖ softmax(f(x; w)/T)) from w_t,
                   v_k on the right being the one of the client's last round
                   sends v_k
    Server:        w_{t+1} = Σ_k (n_k / n) v_k over the sampled clients

The personal model is v_k, the client's model right after its local training. A client that has never been sampled uses
w_t. With λ = 0 this is FedAvg, scored after local training.

Deviations: the teacher answers in evaluation mode, once a round.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.algorithm import Task, Update
from fedpers.training import Batch, Objective, cross_entropy
from strategies.parts.answers import answers, distill
from strategies.parts.second_model import SecondModel, store, stored
from strategies.parts.snapshots import restore, snapshot


@dataclass(frozen=True)
class PFedSD(SecondModel):
    """Self-distillation across rounds.

    Args:
        lambda_kd: Weight λ of the distillation.
        temperature: Temperature T of both distributions.
    """

    lambda_kd: float
    temperature: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("lambda_kd", self.lambda_kd >= 0, "at least 0")
        self.require("temperature", self.temperature > 0, "above 0")

    def train(self, task: Task) -> Update:
        """Learn from the labels and from one's own past."""
        loss = task.fit(self._objective(task))
        keep = task.personal() | store(task.model.tensors())
        return Update(send=task.shared(), keep=keep, metrics={"loss": loss})

    def _objective(self, task: Task) -> Objective:
        past = stored(task.state)
        if not past or not self.lambda_kd:
            return cross_entropy
        present = snapshot(task.model.tensors())
        restore(task.model, past)
        target = (answers(task.model, task.data.train) / self.temperature).softmax(1)
        restore(task.model, present)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            logits = model(batch.inputs)
            past_term = distill(logits, target[batch.index], self.temperature).mean()
            return F.cross_entropy(logits, batch.labels) + self.lambda_kd * past_term

        return loss
