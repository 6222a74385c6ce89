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

The personal model is f_k; there is no global model.

Deviations: the paper's full text was not at hand. The above is our reading of its abstract and public summaries; the
form of the losses, the warm-up rule (a head never teaches before it has been trained), the pooling of h before it is
sent and all defaults are ours. KL(q ‖ f) stands for the cross-entropy with target q less q's entropy, a constant.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from flwr.app import ArrayRecord, Message, MetricRecord
from torch import Tensor, nn

from fedpers import records, seeds
from fedpers.client import State, Task, Update
from fedpers.errors import UserError
from fedpers.federation import Federation
from fedpers.models.staged import Staged
from fedpers.training import Batch, Split, collect, fit
from strategies.base import Algorithm, ServerAverage

HEAD = "server_head/"
CUT = "control/cut"
SOFT_LABELS = "soft_labels/q"
SENT = ("representations/h", "soft_labels/p", "labels/y", "labels/count")


@dataclass(frozen=True)
class FedD2S(Algorithm):
    """Both halves of FedD2S.

    Args:
        dropping: "schedule" drops one cut every interval, "none" stays at the first cut of the set.
        dropping_set: Cuts from deep to shallow; None for every cut of the model.
        dropping_interval: Rounds a cut is active; None shares the rounds evenly over the set.
        lambda_ce: Weight λ_ce of the head's cross-entropy in the client's loss.
        lambda_kl: Weight λ_kl of the distillation from the server's soft labels.
        kl_on: Where that distillation acts: the whole "model" f_k, or only the "head" g_c(h) on the shared stages.
        temperature: T, in both directions.
        mu: Weight μ of the clients' soft labels in the server's loss.
        knowledge: What a client sends: every sample's representation, or its class means.
        feedback: What a client is sent: the "head", its "soft_labels", or "both".
        head_hidden: Width of the heads' hidden layer.
        pool: Feature maps are averaged to at most pool x pool before they are sent.
        server_epochs: Passes over the clients' knowledge a round.
        server_lr: Learning rate of the server's Adam.
        server_batch_size: Samples in a batch of the server.
        clip_norm: Largest gradient norm in a client; None does not clip.
    """

    dropping: Literal["schedule", "none"]
    dropping_set: tuple[int, ...] | None
    dropping_interval: int | None
    lambda_ce: float
    lambda_kl: float
    kl_on: Literal["model", "head"]
    temperature: float
    mu: float
    knowledge: Literal["samples", "class_means"]
    feedback: Literal["head", "soft_labels", "both"]
    head_hidden: int
    pool: int
    server_epochs: int
    server_lr: float
    server_batch_size: int
    clip_norm: float | None

    def __post_init__(self) -> None:
        """Check ranges."""
        above_zero = ("temperature", "head_hidden", "pool", "server_epochs", "server_lr", "server_batch_size")
        for key in (*above_zero, "dropping_interval", "clip_norm"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise UserError(f"strategy.{key}={value} is not possible. Accepted: a number above 0")
        for key in ("lambda_ce", "lambda_kl", "mu"):
            if not getattr(self, key) >= 0:
                raise UserError(f"strategy.{key}={getattr(self, key)} is not possible. Accepted: at least 0")
        if self.dropping_set == ():
            raise UserError("strategy.dropping_set=[] is not possible. Accepted: at least one cut, or null for all")

    def check(self, model: Staged) -> None:
        """Check the cuts."""
        model.check_cuts(self.cuts(len(model)), "strategy.dropping_set")

    def cuts(self, num_stages: int) -> tuple[int, ...]:
        """Return the dropping set of a model with this many stages."""
        return tuple(range(num_stages - 1, 0, -1)) if self.dropping_set is None else self.dropping_set

    def active_cut(self, round: int, num_rounds: int, num_stages: int) -> int:
        """Return c_t, the cut that is active in round t, counted from 1."""
        cuts = self.cuts(num_stages)
        if self.dropping == "none":
            return cuts[0]
        interval = self.dropping_interval or -(-num_rounds // len(cuts))
        return cuts[min((round - 1) // interval, len(cuts) - 1)]

    def is_personal(self, key: str) -> bool:
        """Keep all weights."""
        return True

    def server(self, federation: Federation) -> "HeadServer":
        """Return the server half."""
        return HeadServer(self, federation)

    def train(self, task: Task) -> Update:
        """Learn from the labels, the server's head and its soft labels, then send knowledge at the active cut."""
        cut = int(task.received[CUT])
        teacher = Teacher(self, cut, frozen_head(task.received), task.received.get(SOFT_LABELS), task.data.train)
        loss = task.fit(teacher.client_loss, clip_norm=self.clip_norm)
        knowledge = self.extract_knowledge(task.model, task.data.train, cut)
        return Update(send=dict(zip(SENT, knowledge, strict=True)), keep=task.personal(), metrics={"loss": loss})

    def extract_knowledge(self, model: Staged, data: Split, cut: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return representations (n, d), soft labels (n, classes), labels (n,) and the samples behind each (n,)."""
        model.eval()

        def observe(inputs: Tensor) -> tuple[Tensor, ...]:
            hidden = model.run_to(inputs, cut)
            return represent(hidden, self.pool), (model.run_from(hidden, cut) / self.temperature).softmax(1)

        h, p = collect(observe, data)
        if self.knowledge == "class_means":
            return class_means(h, p, data.labels)
        return h, p, data.labels, torch.ones_like(data.labels)

    def distill(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return T² KL(target ‖ softmax(logits/T)) of every sample; target (n, classes), result (n,)."""
        log_q = F.log_softmax(logits / self.temperature, dim=1)
        return self.temperature**2 * F.kl_div(log_q, target, reduction="none").sum(1)


class Teacher:
    """What the federation gives one client in one round.

    Args:
        algorithm: The hyper-parameters.
        cut: The active cut.
        head: g_c, frozen; None before it has been trained.
        soft_labels: q, (samples, classes) or, for class means, (classes present, classes); None if there is none.
        data: The client's training samples.
    """

    def __init__(
        self, algorithm: FedD2S, cut: int, head: nn.Module | None, soft_labels: Tensor | None, data: Split
    ) -> None:
        """Give every training sample its row of soft labels."""
        self.algorithm, self.cut, self.head = algorithm, cut, head
        self.soft_labels = soft_labels
        if soft_labels is not None and algorithm.knowledge == "class_means":
            self.soft_labels = soft_labels[data.labels.unique(return_inverse=True)[1]]

    def client_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return L_k of a batch."""
        assert isinstance(model, Staged)
        a = self.algorithm
        hidden = model.run_to(batch.inputs, self.cut)
        logits = model.run_from(hidden, self.cut)
        loss = F.cross_entropy(logits, batch.labels)
        on_head = None
        if self.head is not None and (a.lambda_ce or a.kl_on == "head"):
            on_head = self.head(represent(hidden, a.pool))
            if a.lambda_ce:
                loss = loss + a.lambda_ce * F.cross_entropy(on_head, batch.labels)
        student = logits if a.kl_on == "model" else on_head
        if self.soft_labels is not None and student is not None and a.lambda_kl:
            loss = loss + a.lambda_kl * a.distill(student, self.soft_labels[batch.index]).mean()
        return loss


def represent(hidden: Tensor, pool: int) -> Tensor:
    """Flatten a representation; feature maps (n, C, H, W) are averaged to at most pool x pool first."""
    if hidden.dim() == 4 and max(hidden.shape[2:]) > pool:
        hidden = F.adaptive_avg_pool2d(hidden, pool)
    return hidden.flatten(1)


def class_means(h: Tensor, p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the means of h and p over each class present, the classes in ascending order, and their counts."""
    classes, inverse, counts = labels.unique(return_inverse=True, return_counts=True)
    means = [torch.zeros(len(classes), x.shape[1]).index_add_(0, inverse, x) / counts[:, None] for x in (h, p)]
    return means[0], means[1], classes, counts


def make_head(width: int, hidden: int, num_classes: int) -> nn.Sequential:
    """Build g_c: one hidden layer on a flat representation."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))


def frozen_head(received: State) -> nn.Module | None:
    """Rebuild the head that the server sent, if it sent one; its weights are constants to the client."""
    state = {key.removeprefix(HEAD): tensor for key, tensor in received.items() if key.startswith(HEAD)}
    if not state:
        return None
    hidden, width = state["0.weight"].shape
    with torch.device("meta"):
        head = make_head(width, hidden, len(state["2.bias"]))
    head.load_state_dict(state, assign=True)
    return head.requires_grad_(False)


class HeadServer(ServerAverage):
    """Trains the head of the active cut on the clients' knowledge and distils it back.

    Args:
        algorithm: The hyper-parameters.
        federation: What the server knows before the first round.
    """

    def __init__(self, algorithm: FedD2S, federation: Federation) -> None:
        """Start without any head: none is sent before it has been trained."""
        super().__init__(federation)
        self.algorithm = algorithm
        self.num_stages = len(federation.model())
        self.heads: dict[int, nn.Sequential] = {}
        self.soft_labels: dict[int, Tensor] = {}

    def cut(self, round: int) -> int:
        """Return the active cut."""
        return self.algorithm.active_cut(round, self.federation.config.rounds, self.num_stages)

    def send_to(self, client: int, round: int) -> State:
        """Return the active cut, its head once that is trained, and the soft labels of the client's last knowledge."""
        a, cut = self.algorithm, self.cut(round)
        state: State = {CUT: torch.tensor(cut)}
        if a.feedback != "soft_labels" and cut in self.heads and (a.lambda_ce or a.kl_on == "head"):
            state |= {HEAD + key: tensor for key, tensor in self.heads[cut].state_dict().items()}
        if a.feedback != "head" and client in self.soft_labels and a.lambda_kl:
            state[SOFT_LABELS] = self.soft_labels[client]
        return state

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Train the active head on what was sent, then let it label every sample."""
        valid, _ = self._check_and_log_replies(sorted(replies, key=self.client_of), is_train=True)
        if not valid:
            return None, None
        cut = self.cut(server_round)
        sent = [records.from_record(reply.content.array_records[records.ARRAYS]) for reply in valid]
        self.train_head(cut, server_round, tuple(torch.cat([state[key] for state in sent]) for key in SENT))
        head, temperature = self.heads[cut].eval(), self.algorithm.temperature
        with torch.no_grad():
            for reply, state in zip(valid, sent, strict=True):
                self.soft_labels[self.client_of(reply)] = (head(state[SENT[0]]) / temperature).softmax(1)
        metrics = self.train_metrics_aggr_fn([reply.content for reply in valid], self.weighted_by_key)
        return ArrayRecord(), metrics

    def train_head(self, cut: int, round: int, knowledge: tuple[Tensor, ...]) -> float:
        """Minimize L_g, each row weighted by the samples behind it, and return the last epoch's mean loss."""
        a, seed = self.algorithm, self.federation.config.seed
        h, p, labels, counts = knowledge
        weights = counts / counts.float().mean()
        if cut not in self.heads:
            with seeds.seeded_initialization(seed, f"head {cut}"):
                self.heads[cut] = make_head(h.shape[1], a.head_hidden, self.federation.num_classes)

        def server_loss(model: nn.Module, batch: Batch) -> Tensor:
            logits = model(batch.inputs)
            losses = F.cross_entropy(logits, batch.labels, reduction="none")
            if a.mu:
                losses = losses + a.mu * a.distill(logits, p[batch.index])
            return (weights[batch.index] * losses).mean()

        head = self.heads[cut]
        return fit(
            head,
            Split(h, labels),
            epochs=a.server_epochs,
            batch_size=a.server_batch_size,
            optimizer=torch.optim.Adam(head.parameters(), lr=a.server_lr),
            generator=seeds.torch_generator(seed, "server", round=round),
            objective=server_loss,
        )
