"""pFedMe: personal models are Moreau envelopes of the shared one.

Dinh, Tran and Nguyen, "Personalized Federated Learning with Moreau Envelopes", NeurIPS 2020,
https://arxiv.org/abs/2006.08848, Algorithm 1.

    θ_k ≈ argmin_θ  CE(f(x; θ)) + λ/2 ‖θ − w_k‖² on a batch, by K steps of gradient
    ClientUpdate:  w_k ← w_k − η λ (w_k − θ_k) for each batch of E epochs from w_t
    Server:        w_{t+1} = (1 − β) w_t + β Σ_k (n_k / n) w_k over the sampled clients

The personal model is θ_k as it was left by the client's last training. A client that has never been sampled uses w_t.

Deviations: β = 1. θ_k starts each batch's steps from where it was left, the first time from w_t. The norm is over all
parameters; θ_k has its own BatchNorm statistics.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fedpers.algorithm import Task, Update
from fedpers.training import Batch
from strategies.parts.second_model import SecondModel, store, stored


@dataclass(frozen=True)
class PFedMe(SecondModel):
    """Envelope steps around an inner problem.

    Args:
        lambda_prox: Weight λ of the distance between personal and shared model.
        inner_steps: Steps K of the inner problem.
        inner_lr: Their step size.
    """

    lambda_prox: float
    inner_steps: int
    inner_lr: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        for key in ("lambda_prox", "inner_steps", "inner_lr"):
            self.require(key, getattr(self, key) > 0, "above 0")

    def train(self, task: Task) -> Update:
        """Follow the envelope's gradient."""
        own = stored(task.state) or task.model.tensors()
        theta = {name: own[name].clone() for name, _ in task.model.named_parameters()}
        buffers = {name: own[name].clone() for name, _ in task.model.named_buffers()}
        losses: list[Tensor] = []

        def envelope(model: nn.Module, batch: Batch) -> Tensor:
            w = dict(model.named_parameters())
            for _ in range(self.inner_steps):
                leaves = {name: value.detach().requires_grad_() for name, value in theta.items()}
                loss = F.cross_entropy(functional_call(model, leaves | buffers, (batch.inputs,)), batch.labels)
                for (name, leaf), gradient in zip(
                    leaves.items(), torch.autograd.grad(loss, list(leaves.values())), strict=True
                ):
                    step = gradient + self.lambda_prox * (leaf.detach() - w[name].detach())
                    theta[name] = leaf.detach() - self.inner_lr * step
            losses.append(loss.detach())
            terms = [(w[name] * (w[name].detach() - theta[name])).sum() for name in w]
            return self.lambda_prox * torch.stack(terms).sum()

        task.fit(envelope)
        keep = task.personal() | store(theta | buffers)
        return Update(send=task.shared(), keep=keep, metrics={"loss": float(torch.stack(losses).mean())})
