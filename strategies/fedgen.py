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

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fedpers import seeds
from fedpers.algorithm import (
    Aggregated,
    Algorithm,
    Federation,
    Purpose,
    Sent,
    Server,
    ServerState,
    State,
    Task,
    Update,
    weights_of,
)
from fedpers.device import to_device
from fedpers.models.staged import Staged
from fedpers.training import Batch, Objective, cross_entropy
from strategies.parts.heads import copied_weights, frozen_head, head_of, make_head
from strategies.parts.snapshots import snapshot

GENERATOR, PRIOR, COUNT = "generator/", "labels/prior", "labels/count"


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

    sends = ("weights", "labels")
    averages = True
    receives = ("weights", "generator", "labels")

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

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return GeneratorServer(federation, self)

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


def ensemble_loss(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Return CE(Σ_k a_ky g_k, y) for logits (clients, n, classes), labels (n,), and samples n_ky (clients, classes)."""
    shares = counts[:, labels] / counts[:, labels].sum(0)
    return F.cross_entropy((shares[:, :, None] * logits).sum(0), labels)


def likeness(noise: Tensor, z: Tensor) -> Tensor:
    """Return exp(− mean ‖ε_i − ε_j‖ ‖z_i − z_j‖₁ / d) for noise (n, e) and representations (n, d), i and j of all n."""
    return (-(torch.cdist(noise, noise) * torch.cdist(z, z, p=1) / z.shape[1]).mean()).exp()


@dataclass(frozen=True)
class GeneratorState(ServerState):
    """What the server remembers.

    Args:
        shared: w_t.
        generator: Weights of G.
        optimizer: State of G's Adam, by number of the parameter.
        prior: p̂; None before G is trained.
    """

    generator: State
    optimizer: dict[int, State]
    prior: Tensor | None


@dataclass(frozen=True)
class GeneratorServer(Server[GeneratorState]):
    """Averages weights, and trains the generator on the heads of the clients that have just been sampled.

    Args:
        algorithm: The hyper-parameters.
    """

    algorithm: FedGen

    def init(self) -> GeneratorState:
        """Start from a generator that nobody is sent before it has been trained."""
        a, federation = self.algorithm, self.federation
        with seeds.seeded_initialization(federation.config.seed, "generator"):
            width = self.hidden_shape.numel()
            generator = make_head(a.noise_size + federation.num_classes, a.generator_hidden, width)
        return GeneratorState(federation.initial, copied_weights(generator), {}, None)

    @cached_property
    def model(self) -> Staged:
        """A model of the clients' architecture."""
        return self.federation.model().eval().requires_grad_(False)

    @cached_property
    def hidden_shape(self) -> torch.Size:
        """Shape of what enters the head."""
        with torch.no_grad():
            return self.model.run_to(torch.zeros(1, *self.federation.shape), len(self.model) - 1).shape[1:]

    def send_to(self, state: GeneratorState, client: int, round: int, purpose: Purpose) -> State:
        """Return the generator and p̂, once it is trained; it never is with λ = 0."""
        if purpose == "score" or state.prior is None:
            return {}
        return {GENERATOR + key: w for key, w in state.generator.items()} | {PRIOR: state.prior}

    def aggregate(self, state: GeneratorState, round: int, sent: Mapping[int, Sent]) -> Aggregated[GeneratorState]:
        """Train the generator and average weights by training samples."""
        shared = self.federation.average(round, sent, state.shared, weights_of)
        if not self.algorithm.lambda_gen:
            return Aggregated(dataclasses.replace(state, shared=shared))
        counts = torch.stack([each.tensors[COUNT] for each in sent.values()]).float()
        generator, optimizer = self._restored(state)
        heads = self.heads([each.tensors for each in sent.values()])
        loss = self.train_generator(generator, optimizer, round, heads, counts)
        moments = {number: snapshot(each) for number, each in optimizer.state_dict()["state"].items()}
        state = GeneratorState(shared, copied_weights(generator), moments, counts.sum(0) / counts.sum())
        return Aggregated(state, {"generator_loss": loss})

    def _restored(self, state: GeneratorState) -> tuple[nn.Module, torch.optim.Adam]:
        generator = head_of(snapshot(state.generator))
        optimizer = torch.optim.Adam(generator.parameters(), lr=self.algorithm.server_lr)
        moments = {number: snapshot(each) for number, each in state.optimizer.items()}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        return generator, optimizer

    def heads(self, sent: Sequence[State]) -> State:
        """Return the weights of all heads, stacked: (clients, ...)."""
        prefix = f"{self.model.stage_names[-1]}."
        keys = [key for key in sent[0] if key.startswith(prefix)]
        return {key.removeprefix(prefix): torch.stack([tensors[key] for tensors in sent]) for key in keys}

    def train_generator(
        self, generator: nn.Module, optimizer: torch.optim.Optimizer, round: int, heads: State, counts: Tensor
    ) -> float:
        """Minimize the generator's loss on what heads answer, and return its last value."""
        a, total, head = self.algorithm, counts.sum(0), self.model[-1]
        stream = seeds.torch_generator(self.federation.config.seed, "generated", round=round)
        last = 0.0
        for _ in range(a.server_steps):
            labels, inputs = a.draw(total, a.server_batch_size, stream)
            z = generator(inputs)
            hidden = z.unflatten(1, self.hidden_shape)
            logits = vmap(lambda weights, hidden=hidden: functional_call(head, weights, (hidden,)))(heads)
            loss = ensemble_loss(logits, labels, counts) + a.lambda_div * likeness(inputs[:, : a.noise_size], z)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            last = float(loss.detach())
        return last
