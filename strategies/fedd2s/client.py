"""FedD2S: personalized data-free federated knowledge distillation, deep layers dropped from the federation first.

Atapour, Seyedmohammadi, Abouei, Mohammadi and Plataniotis, "FedD2S: Personalized Data-Free Federated Knowledge
Distillation", 2024, https://arxiv.org/abs/2402.10846.

A client's model is L stages; h = s_c(...s_1(x)) is its representation at cut c, f_k(x) its logits. In round t the
active cut is c_t = set[min((t-1) // interval, |set|-1)], from deep to shallow: stages behind it have been dropped. The
server owns one head g_c a cut. Nothing but representations, soft labels and labels leaves a client.

    Client   L_k = CE(f_k(x), y) + λ_ce CE(g_c(h), y) + λ_kl T² KL(q ‖ f_k(x)/T)       g_c frozen
             sends h, p = softmax(f_k(x)/T) and y, by sample or as class means with counts
    Server   L_g = CE(g_c(h), y) + μ T² KL(p ‖ g_c(h)/T)                               on all that was sent, by Adam
             q = softmax(g_c(h)/T), sent back to the client when it is next sampled

The personal model is f_k; there is no global model. The server half is `strategies.fedd2s.server.HeadServer`.

Deviations: the paper's full text was not at hand. The above is our reading of its abstract and public summaries; the
form of the losses, the warm-up rule (a head never teaches before it has been trained), the pooling of h before it is
sent and all defaults are ours. KL(q ‖ f) stands for the cross-entropy with target q less q's entropy, a constant.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.client import Task, Update
from fedpers.config import Config
from fedpers.errors import UserError
from fedpers.federation import Federation
from fedpers.models.staged import Staged
from fedpers.training import Batch, Split, collect
from strategies.base import Algorithm
from strategies.fedd2s.dropping import scheduled_cut
from strategies.fedd2s.server import CUT, SENT, SOFT_LABELS, HeadServer, frozen_head
from strategies.parts.exchange import add_noise, class_means, clip_rows, distill, projection_matrix, represent


@dataclass(frozen=True)
class FedD2S(Algorithm):
    """The hyper-parameters and the client half.

    Args:
        dropping: "schedule" drops one cut every interval, "adaptive" when validation accuracy stops rising, "none"
            stays at the first cut of the set.
        dropping_set: Cuts from deep to shallow; None for every cut of the model.
        dropping_interval: Rounds a cut is active; None shares the rounds evenly over the set.
        patience: For adaptive dropping: rounds without a rise.
        min_delta: For adaptive dropping: what counts as a rise of the mean validation accuracy, 0 to 1.
        lambda_ce: Weight λ_ce of the head's cross-entropy in the client's loss.
        lambda_kl: Weight λ_kl of the distillation from the server's soft labels.
        kl_on: Where that distillation acts: the whole "model" f_k, or only the "head" g_c(h) on the shared stages.
        temperature: T, in both directions.
        mu: Weight μ of the clients' soft labels in the server's loss.
        knowledge: What a client sends: every sample's representation, or its class means.
        feedback: What a client is sent: the "head", its "soft_labels", or "both".
        soft_label_max_age: Rounds after which soft labels are too old to be sent; None for never.
        heads: "global" heads learn from all clients; "own": every client gets heads trained on its own knowledge alone,
            which is the control without a federation.
        head_hidden: Width of the heads' hidden layer, or one width for each cut of the set; 0 for a linear head.
        head_norm: Put a LayerNorm in front of the heads.
        pool: Feature maps are averaged to at most pool x pool before they are sent.
        projection: Project representations to this many values by a fixed random matrix; None sends them as they are.
        wire: Type of representations, soft labels and heads on the wire.
        knowledge_clip: Largest L2 norm of a representation that is sent; None does not clip.
        knowledge_noise: Standard deviation of Gaussian noise on representations and soft labels that are sent.
        server_epochs: Passes over the clients' knowledge a round.
        server_lr: Learning rate of the server's Adam.
        server_batch_size: Samples in a batch of the server.
        clip_norm: Largest gradient norm in a client; None does not clip.
    """

    dropping: Literal["schedule", "adaptive", "none"]
    dropping_set: tuple[int, ...] | None
    dropping_interval: int | None
    patience: int
    min_delta: float
    lambda_ce: float
    lambda_kl: float
    kl_on: Literal["model", "head"]
    temperature: float
    mu: float
    knowledge: Literal["samples", "class_means"]
    feedback: Literal["head", "soft_labels", "both"]
    soft_label_max_age: int | None
    heads: Literal["global", "own"]
    head_hidden: int | tuple[int, ...]
    head_norm: bool
    pool: int
    projection: int | None
    wire: Literal["float32", "float16"]
    knowledge_clip: float | None
    knowledge_noise: float
    server_epochs: int
    server_lr: float
    server_batch_size: int
    clip_norm: float | None

    def __post_init__(self) -> None:
        """Check ranges."""
        above_zero = ("temperature", "pool", "server_epochs", "server_lr", "server_batch_size", "patience")
        optional = ("dropping_interval", "soft_label_max_age", "projection", "knowledge_clip", "clip_norm")
        for key in (*above_zero, *optional):
            value = getattr(self, key)
            self.require(key, value is None or value > 0, "a number above 0")
        for key in ("lambda_ce", "lambda_kl", "mu", "min_delta", "knowledge_noise"):
            self.require(key, getattr(self, key) >= 0, "at least 0")
        widths = (self.head_hidden,) if isinstance(self.head_hidden, int) else self.head_hidden
        if min(widths, default=-1) < 0:
            raise UserError(f"strategy.head_hidden={self.head_hidden} is not possible. Accepted: at least 0")
        if self.dropping_set == ():
            raise UserError("strategy.dropping_set=[] is not possible. Accepted: at least one cut, or null for all")

    def check(self, model: Staged, config: Config) -> None:
        """Check the cuts against the model, and adaptive dropping against the splits."""
        cuts = self.cuts(len(model))
        model.check_cuts(cuts, "strategy.dropping_set")
        if not isinstance(self.head_hidden, int) and len(self.head_hidden) != len(cuts):
            raise UserError(
                f"strategy.head_hidden={list(self.head_hidden)} does not fit the dropping set {list(cuts)}. "
                f"Accepted: one width, or {len(cuts)} of them"
            )
        if self.dropping == "adaptive" and not config.splits[1]:
            raise UserError(
                f"strategy.dropping=adaptive needs validation samples, but splits={config.splits}. "
                "Accepted: a share for validation above 0, or dropping=schedule"
            )

    def cuts(self, num_stages: int) -> tuple[int, ...]:
        """Return the dropping set of a model with this many stages."""
        return tuple(range(num_stages - 1, 0, -1)) if self.dropping_set is None else self.dropping_set

    def active_cut(self, round: int, num_rounds: int, num_stages: int) -> int:
        """Return c_t, the cut that is active in round t, counted from 1, unless dropping is adaptive."""
        cuts = self.cuts(num_stages)
        interval = self.dropping_interval or -(-num_rounds // len(cuts))
        return cuts[0] if self.dropping == "none" else scheduled_cut(cuts, interval, round)

    def hidden_width(self, cut: int, num_stages: int) -> int:
        """Return the width of the hidden layer of the head at a cut."""
        hidden = self.head_hidden
        return hidden if isinstance(hidden, int) else hidden[self.cuts(num_stages).index(cut)]

    def is_personal(self, key: str) -> bool:
        """Keep all weights."""
        return True

    def server(self, federation: Federation) -> HeadServer:
        """Return the server half."""
        return HeadServer(self, federation)

    def train(self, task: Task) -> Update:
        """Learn from the labels, the server's head and its soft labels, then send knowledge at the active cut."""
        cut, q = int(task.received[CUT]), task.received.get(SOFT_LABELS)
        if q is not None:
            q = soft_label_of_each_sample(q.float(), task.data.train.labels, self.knowledge)
        teacher = Teacher(self, cut, frozen_head(task.received), q, task.config.seed)
        loss = task.fit(teacher.client_loss, clip_norm=self.clip_norm)
        h, p = self.observe(task.model, task.data.train, cut, task.config.seed)
        agreement = math.nan if q is None else float((p.argmax(1) == q.argmax(1)).float().mean())
        send = self.extract_knowledge(h, p, task.data.train.labels, task.generator("noise"))
        metrics = {"loss": loss, "agreement": agreement, **drift(task)}
        return Update(send=dict(zip(SENT, send, strict=True)), keep=task.personal(), metrics=metrics)

    def embed(self, hidden: Tensor, seed: int) -> Tensor:
        """Return a representation as the federation sees it: (n, d), pooled and projected."""
        h = represent(hidden, self.pool)
        return h if self.projection is None else h @ projection_matrix(h.shape[1], self.projection, seed).to(h.device)

    def observe(self, model: Staged, data: Split, cut: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return h (n, d) and p (n, classes) of all samples, in order."""
        model.eval()

        def forward(inputs: Tensor) -> tuple[Tensor, ...]:
            hidden = model.run_to(inputs, cut)
            return self.embed(hidden, seed), (model.run_from(hidden, cut) / self.temperature).softmax(1)

        h, p = collect(forward, data)
        return h, p

    def extract_knowledge(
        self, h: Tensor, p: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what leaves the client: representations, soft labels, labels and the samples behind each row."""
        h = clip_rows(h, self.knowledge_clip)
        counts = torch.ones_like(labels)
        if self.knowledge == "class_means":
            h, p, labels, counts = class_means(h, p, labels)
        h, p = add_noise(h, p, self.knowledge_noise, generator)
        dtype = torch.float16 if self.wire == "float16" else torch.float32
        return h.to(dtype), p.to(dtype), labels, counts


@dataclass(frozen=True)
class Teacher:
    """What the federation gives one client in one round.

    Args:
        algorithm: The hyper-parameters.
        cut: The active cut.
        head: g_c, frozen; None before it has been trained.
        soft_labels: q of every training sample, (n, classes); None if there are none.
        seed: The run's seed.
    """

    algorithm: FedD2S
    cut: int
    head: nn.Module | None
    soft_labels: Tensor | None
    seed: int = 0

    def client_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return L_k of a batch."""
        assert isinstance(model, Staged)
        a = self.algorithm
        hidden = model.run_to(batch.inputs, self.cut)
        logits = model.run_from(hidden, self.cut)
        loss = F.cross_entropy(logits, batch.labels)
        on_head = None
        if self.head is not None and (a.lambda_ce or (a.lambda_kl and a.kl_on == "head")):
            on_head = self.head(a.embed(hidden, self.seed))
            if a.lambda_ce:
                loss = loss + a.lambda_ce * F.cross_entropy(on_head, batch.labels)
        student = logits if a.kl_on == "model" else on_head
        if self.soft_labels is not None and student is not None and a.lambda_kl:
            loss = loss + a.lambda_kl * distill(student, self.soft_labels[batch.index], a.temperature).mean()
        return loss


def soft_label_of_each_sample(q: Tensor, labels: Tensor, knowledge: str) -> Tensor:
    """Give every training sample its row; for class means that is the row of its class."""
    return q[labels.unique(return_inverse=True)[1]] if knowledge == "class_means" else q


def drift(task: Task) -> dict[str, float]:
    """Return ‖w − w_0‖ / ‖w_0‖ of each stage of the model, from its initialization."""
    distances = {}
    for name, stage in task.model.named_children():
        pairs = [(p.detach(), task.initial[f"{name}.{key}"]) for key, p in stage.named_parameters()]
        if pairs:
            moved = sum(float((now - then).square().sum()) for now, then in pairs)
            length = sum(float(then.square().sum()) for _, then in pairs)
            distances[f"drift/{name}"] = (moved / max(length, 1e-12)) ** 0.5
    return distances
