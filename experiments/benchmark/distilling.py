"""The arithmetic of FedD2S without a federation, for the bare loop: its client's loss, what clients send, its head.

Heads, soft labels and pooled knowledge have the shapes of a real run and random values. In plain PyTorch, so that it
shares no line with what it is a limit for; hyper-parameters and cuts are those of the algorithm.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.assembly import build_algorithm, build_model
from fedpers.config.keys import Config
from fedpers.data.shards import Shards
from strategies.fedd2s.settings import Settings

Loss = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
"""Maps a model, inputs, labels and the samples' positions to what is minimized."""


@dataclass(frozen=True)
class Distilling:
    """What a workload's clients and server do beside SGD on labels.

    Args:
        settings: The hyper-parameters of FedD2S.
        rounds: Rounds of the run.
        num_stages: Stages of the model.
        widths: Values of a representation by cut.
        num_classes: Number of classes.
        samples: Training samples of a client.
        rows: Rows of knowledge that the server receives in a round.
        labels: Their labels.
    """

    settings: Settings
    rounds: int
    num_stages: int
    widths: dict[int, int]
    num_classes: int
    samples: int
    rows: int
    labels: Tensor

    @classmethod
    def of(cls, config: Config, shards: Shards, num_sampled: int) -> "Distilling | None":
        """Return what a run's configuration asks for; None for an algorithm other than FedD2S."""
        settings = build_algorithm(config)
        if not isinstance(settings, Settings):
            return None
        model, train = build_model(config, shards), shards.client(0).train
        stages = list(model.children())
        widths, hidden = {}, train.inputs[:1]
        for cut, stage in enumerate(stages, start=1):
            hidden = stage(hidden)
            widths[cut] = _seen(hidden, settings.pool).shape[1]
        rows = num_sampled * len(train)
        labels = torch.randint(shards.num_classes, (rows,))
        return cls(settings, config.rounds, len(stages), widths, shards.num_classes, len(train), rows, labels)

    @property
    def clip_norm(self) -> float | None:
        """Largest gradient norm in a client."""
        return self.settings.clip_norm

    def cut(self, round: int) -> int:
        """Return the active cut."""
        return self.settings.active_cut(round, self.rounds, self.num_stages)

    def head(self, cut: int) -> nn.Sequential:
        """Return a head as the server has them by default: LayerNorm, a hidden layer, logits."""
        width, hidden = self.widths[cut], self.settings.hidden_width(cut, self.num_stages)
        return nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, self.num_classes)
        )

    def client_loss(self, round: int) -> Loss:
        """Return a client's loss with a frozen head and soft labels."""
        a, cut = self.settings, self.cut(round)
        head = self.head(cut).requires_grad_(False)
        q = torch.randn(self.samples, self.num_classes).softmax(1)

        def loss(model: nn.Module, inputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
            stages = list(model.children())
            hidden = nn.Sequential(*stages[:cut])(inputs)
            logits = nn.Sequential(*stages[cut:])(hidden)
            found = F.cross_entropy(logits, labels)
            found = found + a.lambda_ce * F.cross_entropy(head(_seen(hidden, a.pool)), labels)
            return found + a.lambda_kl * self._distill(logits, q[index])

        return loss

    @torch.no_grad()
    def observe(self, model: nn.Module, inputs: Tensor, round: int) -> tuple[Tensor, Tensor]:
        """Return what a client sends of its samples."""
        stages, cut = list(model.children()), self.cut(round)
        hidden = nn.Sequential(*stages[:cut])(inputs)
        p = (nn.Sequential(*stages[cut:])(hidden) / self.settings.temperature).softmax(1)
        return _seen(hidden, self.settings.pool), p

    def train_head(self, round: int) -> Tensor:
        """Train a head on the knowledge of all clients and return what it says of it."""
        a, cut = self.settings, self.cut(round)
        head = self.head(cut)
        h = torch.randn(self.rows, self.widths[cut])
        p = torch.randn(self.rows, self.num_classes).softmax(1)
        optimizer = torch.optim.Adam(head.parameters(), lr=a.server_lr)
        for _ in range(a.server_epochs):
            for index in torch.randperm(self.rows).split(a.server_batch_size):
                optimizer.zero_grad(set_to_none=True)
                logits = head(h[index])
                loss = F.cross_entropy(logits, self.labels[index]) + a.mu * self._distill(logits, p[index])
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            said: Tensor = (head(h) / a.temperature).softmax(1)
        return said

    def _distill(self, logits: Tensor, target: Tensor) -> Tensor:
        t = self.settings.temperature
        return t**2 * F.kl_div(F.log_softmax(logits / t, dim=1), target, reduction="batchmean")


def _seen(hidden: Tensor, pool: int) -> Tensor:
    """Return a representation as the federation sees it: feature maps averaged to pool x pool, flat."""
    if hidden.dim() == 4 and max(hidden.shape[2:]) > pool:
        hidden = F.adaptive_avg_pool2d(hidden, pool)
    return hidden.flatten(1)
