"""The exchange of knowledge behind a cut: what clients send of what enters it, and how server and clients learn.

A model is L stages; h = s_c(...s_1(x)) is its representation at cut c, f(x) its logits, p = softmax(f(x)/T). Clients
send h, p and y; the server trains a head g on them, and answers with it, with what it says of a client's knowledge, or
both.
Tensors in, tensors out; n samples, d values in a flat representation.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers import seeds
from fedpers.algorithm import State
from fedpers.device import to_device
from fedpers.errors import UserError
from fedpers.models.staged import Staged
from fedpers.training import Batch, Split, collect, fit
from strategies.parts.answers import distill
from strategies.parts.heads import head_of, make_head
from strategies.parts.snapshots import snapshot

SENT = ("representations/h", "soft_labels/p", "labels/y", "labels/count")
"""What a client sends: the wire keys of `Knowledge`, in its order."""

ROW_KEYS = SENT[:2]
"""Those of floating-point numbers: representations and soft labels."""

ROWS = MappingProxyType(dict.fromkeys(SENT, (0,)))
"""Each has a row for each sample, or class: an algorithm's `varies`."""

SOFT_LABELS = "soft_labels/q"
"""What a client is sent: a row for each row of its knowledge."""


class Knowledge(NamedTuple):
    """What a client tells of its samples.

    Args:
        h: Representations (rows, d).
        p: Soft labels (rows, classes).
        labels: Labels (rows,).
        counts: The samples behind each row (rows,).
    """

    h: Tensor
    p: Tensor
    labels: Tensor
    counts: Tensor

    def wire(self) -> State:
        """Return the tensors by their wire keys."""
        return dict(zip(SENT, self, strict=True))

    def normalized(self) -> "Knowledge":
        """Return it with soft labels that are distributions again, whatever noise has made of them."""
        p = self.p.clamp_min(1e-6)
        return self._replace(p=p / p.sum(1, keepdim=True))

    @classmethod
    def received(cls, tensors: Mapping[str, Tensor]) -> "Knowledge":
        """Read what a client sent, whatever the type of its numbers on the wire."""
        return cls(*(tensors[key].float() if tensors[key].is_floating_point() else tensors[key] for key in SENT))


def rows_of(tensors: Mapping[str, Tensor]) -> State:
    """Return the representations and soft labels that a client sent, by wire key, in float32."""
    return {key: tensors[key].float() for key in ROW_KEYS}


def fault_in_knowledge(sent: Mapping[str, Tensor], num_classes: int) -> str:
    """Return what makes a client's knowledge impossible; empty: nothing."""
    known = Knowledge(*(sent[key] for key in SENT))
    rows = {len(tensor) for tensor in known}
    if len(rows) > 1:
        return f"its knowledge has {min(rows)} rows of one kind and {max(rows)} of another"
    if known.p.shape[1] != num_classes:
        return f"its soft labels are of {known.p.shape[1]} classes, not of {num_classes}"
    if len(known.labels) and int(known.labels.max()) >= num_classes:
        return f"its labels reach {int(known.labels.max())}, with {num_classes} classes"
    return ""


@dataclass(frozen=True)
class View:
    """How representations look to the federation.

    Args:
        pool: Feature maps are averaged to at most pool x pool.
        projection: Representations are projected to this many values by a fixed random matrix; None: as they are.
        temperature: T of the soft labels.
        seed: The run's seed.
    """

    pool: int
    projection: int | None
    temperature: float
    seed: int

    def embed(self, hidden: Tensor) -> Tensor:
        """Return what a stage has put out as the federation sees it: (n, d)."""
        h = represent(hidden, self.pool)
        if self.projection is None:
            return h
        return h @ projection_matrix(h.shape[1], self.projection, self.seed).to(h.device)

    def observe(self, model: Staged, data: Split, cut: int) -> tuple[Tensor, Tensor]:
        """Return h (n, d) and p (n, classes) of all samples, in order, in evaluation mode."""
        model.eval()

        def forward(inputs: Tensor) -> tuple[Tensor, ...]:
            hidden = model.run_to(inputs, cut)
            return self.embed(hidden), (model.run_from(hidden, cut) / self.temperature).softmax(1)

        h, p = collect(forward, data)
        return h, p


@dataclass(frozen=True)
class Teacher:
    """What the federation gives one client in one round: L = CE(f(x), y) + λ_ce CE(g(h), y) + λ_kl T² KL(q ‖ f(x)/T).

    Args:
        view: How representations look.
        cut: The active cut.
        head: g, frozen; None before it has been trained.
        soft_labels: q of every training sample, (n, classes); None if there are none.
        lambda_ce: Weight λ_ce.
        lambda_kl: Weight λ_kl.
        kl_on: Where q acts: on the whole "model" f, or only on the "head" g.
    """

    view: View
    cut: int
    head: nn.Module | None
    soft_labels: Tensor | None
    lambda_ce: float
    lambda_kl: float
    kl_on: str = "model"

    def client_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return L of a batch."""
        assert isinstance(model, Staged)
        hidden = model.run_to(batch.inputs, self.cut)
        logits = model.run_from(hidden, self.cut)
        loss = F.cross_entropy(logits, batch.labels)
        on_head = None
        if self.head is not None and (self.lambda_ce or (self.lambda_kl and self.kl_on == "head")):
            on_head = self.head(self.view.embed(hidden))
            if self.lambda_ce:
                loss = loss + self.lambda_ce * F.cross_entropy(on_head, batch.labels)
        student = logits if self.kl_on == "model" else on_head
        if self.soft_labels is not None and student is not None and self.lambda_kl:
            taught = distill(student, self.soft_labels[batch.index], self.view.temperature).mean()
            loss = loss + self.lambda_kl * taught
        return loss

    def agreement(self, p: Tensor) -> float:
        """Return how often a client's soft labels p (n, classes) and the server's name one class; NaN without any."""
        q = self.soft_labels
        return math.nan if q is None else float((p.argmax(1) == q.argmax(1)).float().mean())


@dataclass(frozen=True)
class HeadTraining:
    """How the server trains a head: L_g = CE(g(h), y) + μ T² KL(p ‖ g(h)/T), by Adam.

    Args:
        mu: Weight μ of the clients' soft labels.
        temperature: T.
        epochs: Passes over the clients' knowledge.
        lr: Learning rate.
        batch_size: Rows in a batch.
        device: Where the server computes; what it takes and gives is on the CPU, but for the head.
    """

    mu: float
    temperature: float
    epochs: int
    lr: float
    batch_size: int
    device: torch.device

    def fit(self, head: nn.Module, knowledge: Knowledge, generator: torch.Generator) -> float:
        """Train a head in place, each row weighted by the samples behind it, and return the last epoch's mean loss.

        The head is left on the device.
        """
        head.to(self.device)
        h, p, labels, counts = (to_device(tensor, self.device) for tensor in knowledge)
        weights = counts / counts.float().mean()

        def server_loss(model: nn.Module, batch: Batch) -> Tensor:
            logits = model(batch.inputs)
            losses = F.cross_entropy(logits, batch.labels, reduction="none")
            if self.mu:
                losses = losses + self.mu * distill(logits, p[batch.index], self.temperature)
            return (weights[batch.index] * losses).mean()

        return fit(
            head,
            Split(h, labels),
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=torch.optim.Adam(head.parameters(), lr=self.lr),
            generator=generator,
            objective=server_loss,
        )

    @torch.no_grad()
    def loss(self, head: nn.Module, knowledge: Knowledge) -> float:
        """Return a head's mean cross-entropy with the labels of a client's knowledge."""
        logits = head.to(self.device).eval()(to_device(knowledge.h, self.device)).cpu()
        losses = F.cross_entropy(logits, knowledge.labels, reduction="none")
        return float((losses * knowledge.counts).sum() / knowledge.counts.sum())

    @torch.no_grad()
    def label(self, head: nn.Module, knowledge: Knowledge) -> tuple[Tensor, float]:
        """Return q = softmax(g(h)/T) for every row, and the number of samples that the trained head gets right."""
        logits = head.eval()(to_device(knowledge.h, self.device)).cpu()
        correct = float(((logits.argmax(1) == knowledge.labels) * knowledge.counts).sum())
        return (logits / self.temperature).softmax(1), correct


def pooled(parts: Sequence[Knowledge], cut: int) -> Knowledge:
    """Return the knowledge of several clients as one.

    Raises:
        UserError: their models disagree in the shape of representations at the cut.
    """
    widths = sorted({part.h.shape[1] for part in parts})
    if len(widths) > 1:
        raise UserError(
            f"the clients' models disagree at cut {cut}: representations of {widths} values. "
            "Accepted: models alike in shape at every cut, or strategy.projection=SIZE"
        )
    return Knowledge(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def head_to_train(
    weights: State | None, *, cut: int, width: int, hidden: int, num_classes: int, norm: bool, seed: int
) -> nn.Module:
    """Return the head at a cut as it was left, or without weights as initialized, for training in place."""
    if weights:
        return head_of(snapshot(weights))
    with seeds.seeded_initialization(seed, f"head {cut}"):
        return make_head(width, hidden, num_classes, norm=norm)


def represent(hidden: Tensor, pool: int) -> Tensor:
    """Flatten a representation; feature maps (n, C, H, W) are averaged to at most pool x pool first."""
    if hidden.dim() == 4 and max(hidden.shape[2:]) > pool:
        height, width = hidden.shape[2:]
        if height % pool or width % pool:
            hidden = F.adaptive_avg_pool2d(hidden, pool)
        else:  # the same to the bit, and on a GPU its gradient is too
            hidden = F.avg_pool2d(hidden, (height // pool, width // pool))
    return hidden.flatten(1)


@lru_cache(maxsize=64)
def projection_matrix(width: int, size: int, seed: int) -> Tensor:
    """Return a fixed (width, size) matrix of Gaussian numbers with variance 1/size, the same for all clients.

    Johnson and Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert space", 1984: it keeps lengths and
    angles in expectation.
    """
    generator = seeds.torch_generator(seed, f"projection {width}x{size}")
    return torch.randn(width, size, generator=generator) / math.sqrt(size)
