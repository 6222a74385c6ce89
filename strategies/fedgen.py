"""FedGen: the server learns to generate representations from the clients' heads, and clients learn from them.

Zhu, Hong and Zhou, "Data-Free Knowledge Distillation for Heterogeneous Federated Learning", ICML 2021,
https://arxiv.org/abs/2105.10056, Eqs. 4 and 5 and Algorithm 1.

    ClientUpdate:  w_k ← E epochs of SGD on CE(f(x; w)) + λ CE(g(z; φ)), z = G(ε, y), from w_t
                   for as many y ~ p̂ as there are samples in the batch, and ε ~ N(0, I)
                   sends w_k and n_ky, its samples of each class y
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients,  p̂(y) ∝ Σ_k n_ky
                   G ← steps of Adam on CE(Σ_k a_ky g(z; φ_k), y) + λ_div exp(− mean ‖ε_i − ε_j‖ ‖z_i − z_j‖₁ / d)

g is the head with weights φ, z what enters it, d values. All clients use w_t, which is the personal model too; so do
those that have never been sampled. With λ = 0 this is FedAvg, to the last bit.

Deviations: client k's logits count by its share a_ky = n_ky / Σ_j n_jy of the class, where Eq. 4 has 1 / K: a head that
has never seen a class says nothing about it. The term with λ_div, without which G may ignore ε, is not in Eq. 4; 0
leaves it out. G has no BatchNorm, and λ does not change from round to round.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.client import Task, Update
from fedpers.device import to_device
from fedpers.federation import Federation
from fedpers.models.staged import Staged
from fedpers.training import Batch, Objective, cross_entropy
from strategies.base import Algorithm
from strategies.fedd2s.server import frozen_head
from strategies.fedgen_server import COUNT, GENERATOR, PRIOR, GeneratorServer


@dataclass(frozen=True)
class FedGen(Algorithm):
    """Both halves of FedGen.

    Args:
        lambda_gen: Weight λ of the generated representations in a client's loss.
        lambda_div: Weight λ_div of diversity in the generator's loss.
        noise_size: Values of ε.
        generator_hidden: Width of the generator's hidden layer.
        server_steps: Steps of the generator a round.
        server_lr: Learning rate of its Adam.
        server_batch_size: Representations in a step of it.
    """

    lambda_gen: float
    lambda_div: float
    noise_size: int
    generator_hidden: int
    server_steps: int
    server_lr: float
    server_batch_size: int

    def __post_init__(self) -> None:
        """Check the ranges."""
        for key in ("lambda_gen", "lambda_div", "server_steps"):
            self.require(key, getattr(self, key) >= 0, "at least 0")
        for key in ("noise_size", "generator_hidden", "server_batch_size"):
            self.require(key, getattr(self, key) >= 1, "at least 1")
        self.require("server_lr", self.server_lr > 0, "above 0")

    def server(self, federation: Federation) -> GeneratorServer:
        """Return the server half."""
        return GeneratorServer(self, federation)

    def train(self, task: Task) -> Update:
        """Learn from one's own samples and from what the server generates."""
        loss = task.fit(self._objective(task))
        count = task.data.train.labels.bincount(minlength=task.data.num_classes)
        return Update(send=task.shared() | {COUNT: count}, keep=task.personal(), metrics={"loss": loss})

    def _objective(self, task: Task) -> Objective:
        generator = frozen_head(task.received, GENERATOR)
        if generator is None or not self.lambda_gen:
            return cross_entropy
        stream, prior = task.generator("generated"), task.received[PRIOR].cpu()
        last = len(task.model) - 1

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            assert isinstance(model, Staged)
            hidden = model.run_to(batch.inputs, last)
            labels, inputs = (to_device(t, hidden.device) for t in self.draw(prior, len(batch.labels), stream))
            generated = generator(inputs).view_as(hidden)
            taught = F.cross_entropy(model.run_from(generated, last), labels)
            return F.cross_entropy(model.run_from(hidden, last), batch.labels) + self.lambda_gen * taught

        return loss

    def draw(self, prior: Tensor, number: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return `number` labels y drawn by `prior` (classes,), and the generator's inputs: ε, then y as one of all."""
        labels = torch.multinomial(prior, number, replacement=True, generator=stream)
        noise = torch.randn(number, self.noise_size, generator=stream)
        return labels, torch.cat([noise, F.one_hot(labels, len(prior)).float()], dim=1)
