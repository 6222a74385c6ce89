"""MOON: clients' representations are drawn to the global model's and pushed from their own past's.

Li, He and Song, "Model-Contrastive Federated Learning", CVPR 2021, https://arxiv.org/abs/2103.16257, Algorithm 1 and
Eq. 3.

    z, z_g, z_p    representations of x by the model that is trained, by w_t, by the client's model of its last round
    s_g, s_p       exp(sim(z, z_g) / τ), exp(sim(z, z_p) / τ)
    ClientUpdate:  w_k ← E epochs of SGD on CE(f(x; w)) − μ log(s_g / (s_g + s_p)) from w_t
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients

sim is the cosine. The personal model is the global one. With μ = 0 this is FedAvg, to the last bit.

Deviations: the representation is what enters the head; the paper adds a projection layer to the model. A client without
a past trains by CE alone. z_g and z_p are taken in evaluation mode, once a round.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.algorithm import Algorithm, Task, Update
from fedpers.models.staged import Staged
from fedpers.training import Batch, Objective, cross_entropy
from strategies.parts.answers import representations
from strategies.parts.second_model import store, stored
from strategies.parts.snapshots import restore, snapshot


@dataclass(frozen=True)
class Moon(Algorithm):
    """Model-contrastive local training.

    Args:
        mu: Weight μ of the contrastive term.
        temperature: τ.
    """

    mu: float
    temperature: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("mu", self.mu >= 0, "at least 0")
        self.require("temperature", self.temperature > 0, "above 0")

    def train(self, task: Task) -> Update:
        """Train by the contrast, and remember the outcome for the next one."""
        loss = task.fit(self._objective(task))
        past = store(task.model.tensors()) if self.mu else {}
        return Update(send=task.shared(), keep=task.personal() | past, metrics={"loss": loss})

    def _objective(self, task: Task) -> Objective:
        past = stored(task.state)
        if not past or not self.mu:
            return cross_entropy
        received = snapshot(task.model.tensors())
        z_global = representations(task.model, task.data.train)
        restore(task.model, past)
        z_past = representations(task.model, task.data.train)
        restore(task.model, received)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            assert isinstance(model, Staged)
            z, logits = model.features_and_logits(batch.inputs)
            near = F.cosine_similarity(z, z_global[batch.index])
            far = F.cosine_similarity(z, z_past[batch.index])
            contrast = F.cross_entropy(torch.stack([near, far], 1) / self.temperature, torch.zeros_like(batch.labels))
            return F.cross_entropy(logits, batch.labels) + self.mu * contrast

        return loss
