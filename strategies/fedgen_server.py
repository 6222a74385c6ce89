"""The server half of FedGen: it generates representations that clients' heads recognize; see `strategies.fedgen`."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from fedpers import seeds
from fedpers.client import State
from fedpers.federation import Federation
from fedpers.models.staged import stage_of
from strategies.base import StateServer
from strategies.fedd2s.server import make_head

if TYPE_CHECKING:
    from strategies.fedgen import FedGen

GENERATOR, PRIOR, COUNT = "generator/", "labels/prior", "labels/count"


def ensemble_loss(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Return CE(Σ_k a_ky g_k, y) for logits (clients, n, classes), labels (n,), and samples n_ky (clients, classes)."""
    shares = counts[:, labels] / counts[:, labels].sum(0)
    return F.cross_entropy((shares[:, :, None] * logits).sum(0), labels)


def likeness(noise: Tensor, z: Tensor) -> Tensor:
    """Return exp(− mean ‖ε_i − ε_j‖ ‖z_i − z_j‖₁ / d) for noise (n, e) and representations (n, d), i and j of all n."""
    return (-(torch.cdist(noise, noise) * torch.cdist(z, z, p=1) / z.shape[1]).mean()).exp()


class GeneratorServer(StateServer):
    """Averages weights, and trains the generator on the heads of the clients that have just been sampled.

    Args:
        algorithm: The hyper-parameters.
        federation: What the server knows before the first round.
    """

    def __init__(self, algorithm: "FedGen", federation: Federation) -> None:
        """Start from a generator that nobody is sent before it has been trained."""
        super().__init__(federation)
        self.algorithm = algorithm
        model = federation.model().eval().requires_grad_(False)
        self.head, self.head_name = model[-1], model.stage_names[-1]
        with torch.no_grad():
            hidden = model.run_to(torch.zeros(1, *federation.shape), len(model) - 1)
        self.hidden_shape = hidden.shape[1:]
        a = algorithm
        with seeds.seeded_initialization(federation.config.seed, "generator"):
            self.generator = make_head(a.noise_size + federation.num_classes, a.generator_hidden, hidden.numel())
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=a.server_lr)
        self.state: State = {}

    def send_to(self, client: int, round: int) -> State:
        """Return the generator and p̂, once it is trained; it never is with λ = 0."""
        return self.state

    def aggregate(self, round: int, sent: dict[int, State]) -> State:
        """Train the generator and average weights by training samples."""
        if self.algorithm.lambda_gen:
            counts = torch.stack([state[COUNT] for state in sent.values()]).float()
            loss = self.train_generator(round, self.heads(sent), counts)
            self.diagnostics = {"generator_loss": loss}
            tensors = {GENERATOR + key: w.detach().clone() for key, w in self.generator.state_dict().items()}
            self.state = tensors | {PRIOR: counts.sum(0) / counts.sum()}
        return self.mean_weights(sent, COUNT)

    def heads(self, sent: dict[int, State]) -> State:
        """Return the weights of all heads, stacked: (clients, ...)."""
        keys = [key for key in next(iter(sent.values())) if stage_of(key) == self.head_name]
        prefix = f"{self.head_name}."
        return {key.removeprefix(prefix): torch.stack([s[key] for s in sent.values()]) for key in keys}

    def train_generator(self, round: int, heads: State, counts: Tensor) -> float:
        """Minimize the generator's loss on what heads answer, and return its last value."""
        a, total = self.algorithm, counts.sum(0)
        stream = seeds.torch_generator(self.federation.config.seed, "generated", round=round)
        last = 0.0
        for _ in range(a.server_steps):
            labels, inputs = a.draw(total, a.server_batch_size, stream)
            z = self.generator(inputs)
            hidden = z.unflatten(1, self.hidden_shape)
            logits = vmap(lambda weights, hidden=hidden: functional_call(self.head, weights, (hidden,)))(heads)
            loss = ensemble_loss(logits, labels, counts) + a.lambda_div * likeness(inputs[:, : a.noise_size], z)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            last = float(loss.detach())
        return last
