"""The hyper-parameters of FedD2S, which are the keys of its YAML, and what follows from them alone."""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from fedpers.algorithm import Algorithm
from fedpers.config.keys import Config
from fedpers.device import server_device
from fedpers.errors import UserError
from fedpers.models.staged import Staged
from strategies.fedd2s.dropping import scheduled_cut
from strategies.fedd2s.vote import VALIDATION
from strategies.parts.exchange import HeadTraining, View
from strategies.parts.personal_layers import all_keys, keys_of

_OF_KNOWLEDGE = (
    *("lambda_ce", "lambda_kl", "kl_on", "temperature", "mu", "knowledge", "feedback", "soft_label_max_age", "heads"),
    *("vote", "vote_shift", "head_hidden", "head_norm", "pool", "projection", "knowledge_clip", "knowledge_noise"),
    *("server_epochs", "server_lr", "server_batch_size", "trim"),
)


@dataclass(frozen=True)
class Settings(Algorithm):
    """The hyper-parameters, and what follows from them alone.

    Args:
        share: What clients share at the active cut: their "knowledge", which is the paper's idea as we read it; the
            "weights" of the stages before it, which are averaged; or "both".
        trunk: With shared weights: whether a client predicts with the "averaged" stages before the active cut, or with
            its "own", as they were after it last trained.
        dropping: "schedule" drops one cut every interval, "adaptive" when validation accuracy stops rising, "none"
            stays at the first cut of the set.
        dropping_set: Cuts from deep to shallow; None for every cut of the model or, where weights are shared, for the
            deeper half of them (of an odd number the larger half): dropping the shallow ones costs more than it gives.
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
        vote: Weight v of the head's answer beside the client's own when the client predicts; "validation": every client
            chooses it on its validation samples, or takes 0.5 without any. 0: the client's model alone, as it is where
            only weights are shared, for then there are no heads.
        vote_shift: How far the head's vote is corrected for how often the client meets each class, from 0 to 1, or
            "validation": chosen with the vote, 1 without samples.
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
        trim: Share of the clients, rounded down, whose knowledge a head does not learn from: those that it fits worst.
            Against poisoned knowledge; 0 learns from all.
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
    vote: float | str = 0.0
    share: Literal["knowledge", "weights", "both"] = "knowledge"
    trunk: Literal["averaged", "own"] = "averaged"
    vote_shift: float | str = VALIDATION
    trim: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        above_zero = ("temperature", "pool", "server_epochs", "server_lr", "server_batch_size", "patience")
        optional = ("dropping_interval", "soft_label_max_age", "projection", "knowledge_clip", "clip_norm")
        for key in (*above_zero, *optional):
            value = getattr(self, key)
            self.require(key, value is None or value > 0, "a number above 0")
        for key in ("lambda_ce", "lambda_kl", "mu", "min_delta", "knowledge_noise"):
            self.require(key, getattr(self, key) >= 0, "at least 0")
        self.require("trim", 0 <= self.trim < 1, "a share in [0, 1)")
        for key in ("vote", "vote_shift"):
            value = getattr(self, key)
            holds = value == VALIDATION if isinstance(value, str) else 0 <= value <= 1
            self.require(key, holds, "a number from 0 to 1, or validation")
        widths = (self.head_hidden,) if isinstance(self.head_hidden, int) else self.head_hidden
        if min(widths, default=-1) < 0:
            raise UserError(f"strategy.head_hidden={self.head_hidden} is not possible. Accepted: at least 0")
        if self.dropping_set == ():
            raise UserError("strategy.dropping_set=[] is not possible. Accepted: at least one cut, or null for all")

    def without_effect(self) -> dict[str, str]:
        """Return what is of another way of dropping, of knowledge that is not sent, of a vote that nobody has."""
        idle: dict[str, str] = {}
        if self.dropping != "adaptive":
            idle |= dict.fromkeys(("patience", "min_delta"), f"dropping={self.dropping}")
        if self.dropping != "schedule":
            idle["dropping_interval"] = f"dropping={self.dropping}"
        if not self.shares_weights:
            idle["trunk"] = f"share={self.share}"
        if not self.shares_knowledge:
            idle |= dict.fromkeys(_OF_KNOWLEDGE, f"share={self.share}")
        else:
            if self.vote == 0:
                idle["vote_shift"] = "vote=0"
            if self.heads == "own":
                idle["trim"] = "heads=own"
            if self.lambda_kl == 0:
                idle["kl_on"] = "lambda_kl=0"
            if self.feedback == "head":
                idle["soft_label_max_age"] = "feedback=head"
        return idle

    def check(self, model: Staged, config: Config) -> None:
        """Check the cuts against the model, and adaptive dropping against the splits."""
        cuts = self.cuts(len(model))
        model.check_cuts(cuts, "strategy.dropping_set", whole=not self.shares_knowledge)
        if self.shares_weights:
            self.require_one_architecture(
                config,
                f"with strategy.share={self.share} averages weights (its clients only agree in what a cut puts out)",
                "strategy.share=knowledge, or one model for all clients",
            )
        if not isinstance(self.head_hidden, int) and len(self.head_hidden) != len(cuts):
            raise UserError(
                f"strategy.head_hidden={list(self.head_hidden)} does not fit the dropping set {list(cuts)}. "
                f"Accepted: one width, or {len(cuts)} of them"
            )
        if not self._sees_validation(config):
            raise UserError(
                f"strategy.dropping=adaptive needs validation samples, but splits={config.splits}. "
                "Accepted: a share for validation above 0, or dropping=schedule"
            )

    def _sees_validation(self, config: Config) -> bool:
        return self.dropping != "adaptive" or config.splits[1] > 0

    def cuts(self, num_stages: int) -> tuple[int, ...]:
        """Return the dropping set of a model with this many stages."""
        if self.dropping_set is not None:
            return self.dropping_set
        every = tuple(range(num_stages - 1, 0, -1))
        return every[: -(-len(every) // 2)] if self.shares_weights else every

    def active_cut(self, round: int, num_rounds: int, num_stages: int) -> int:
        """Return c_t, the cut that is active in round t, counted from 1, unless dropping is adaptive."""
        cuts = self.cuts(num_stages)
        interval = self.dropping_interval or -(-num_rounds // len(cuts))
        return cuts[0] if self.dropping == "none" else scheduled_cut(cuts, interval, round)

    def bound_to_rounds(self, config: Config) -> str:
        """Say that the rounds are shared over the cuts, or that the last one alone was scored for adaptive dropping."""
        if self.dropping == "schedule" and self.dropping_interval is None:
            return "strategy.dropping_interval=null shares all rounds evenly over the dropping set"
        if self.dropping == "adaptive" and config.eval_every and config.rounds % config.eval_every:
            return "adaptive dropping has seen the scores of the last round, which are out of turn"
        return ""

    def hidden_width(self, cut: int, num_stages: int) -> int:
        """Return the width of the hidden layer of the head at a cut."""
        hidden = self.head_hidden
        return hidden if isinstance(hidden, int) else hidden[self.cuts(num_stages).index(cut)]

    def needs(self, config: Config) -> dict[str, Any]:
        """Return splits with a validation part for adaptive dropping."""
        return {} if self._sees_validation(config) else {"splits": [0.6, 0.15, 0.25]}

    @property
    def shares_knowledge(self) -> bool:
        """Whether clients send knowledge and the server owns heads."""
        return self.share != "weights"

    @property
    def shares_weights(self) -> bool:
        """Whether the stages before the active cut are averaged."""
        return self.share != "knowledge"

    @property
    def releases(self) -> int:
        """How often the server averages in a round: weights, class means, or both."""
        return 2 if self.share == "both" else 1

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep all weights or, where weights are shared, those behind the deepest cut.

        The stages before it stay from the round on in which they are dropped.
        """
        if not self.shares_weights:
            return all_keys(model)
        cuts = self.cuts(len(model))
        deepest = cuts[0] if self.dropping == "none" else max(cuts)
        return keys_of(model, model.stage_names[deepest:])

    def view(self, seed: int) -> View:
        """Return how representations look to the federation."""
        return View(self.pool, self.projection, self.temperature, seed)

    def head_training(self, config: Config) -> HeadTraining:
        """Return how the server trains its heads, and where."""
        batch, device = self.server_batch_size, server_device(config.device)
        return HeadTraining(self.mu, self.temperature, self.server_epochs, self.server_lr, batch, device)

    @property
    def wire_type(self) -> torch.dtype:
        """Type of representations, soft labels and heads on the wire."""
        return torch.float16 if self.wire == "float16" else torch.float32

    @property
    def uses_head(self) -> bool:
        """Whether a head has a term in the client's loss."""
        return bool(self.lambda_ce or (self.lambda_kl and self.kl_on == "head"))
