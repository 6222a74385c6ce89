"""The whole configuration of a run: one frozen dataclass that travels as one JSON string.

Top-level defaults, their meanings and what each key affects are written here and nowhere else; the groups (dataset,
partition, model, strategy, engine) are plain mappings whose defaults stand in `configs/` and which `build` turns into
objects. `fedpers.config.identity` is what two have in common that give the same.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from fedpers import seeds
from fedpers.errors import UserError, unknown_name

Spec = dict[str, Any]
"""One group's configuration: `_target_` and the keyword arguments of what it names."""

GROUPS = (
    "dataset",
    "partition",
    "shift",
    "model",
    "strategy",
    "optimizer",
    "schedule",
    "augment",
    "early_stop",
    "aggregation",
    "faults",
    "attack",
    "privacy",
    "engine",
)

PATHS = ("out", "cache", "init")
"""Top-level keys whose value is a path: it is taken as it was typed, whatever characters it has."""

GROUP_PATHS = ("root", "file", "folder", "path")
"""Names of groups' keys whose value is a path, e.g. `dataset.root`."""


def is_path(key: str) -> bool:
    """Tell whether a key's value is a path."""
    group, _, name = key.rpartition(".")
    return name in (GROUP_PATHS if group else PATHS)


Affects = Literal["data", "result", "nothing"]
"""What a key may change: the prepared data, and thus the results too; the results alone; or neither."""


def option(default: Any, meaning: str, *, affects: Affects) -> Any:
    """Declare a top-level key with its default, the meaning that `--help` prints, and what it affects."""
    metadata = {"meaning": meaning, "affects": affects}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Everything that determines a run.

    Raises:
        UserError: a value is outside what its key accepts; the message names the key, the value and the range.
    """

    seed: int = option(0, "every random number of the run follows from it", affects="data")
    rounds: int = option(20, "number of federated rounds", affects="result")
    participation: float = option(
        1.0, "share of the clients that is sampled to train in each round, in (0, 1]", affects="result"
    )
    local_epochs: int = option(1, "epochs that a sampled client trains in a round", affects="result")
    batch_size: int = option(32, "samples in a client's mini-batch; the last batch may be smaller", affects="result")
    accumulate: int = option(
        1, "mini-batches whose gradients are added up before clients' weights move", affects="result"
    )
    lr: float = option(0.05, "learning rate of the clients' SGD, or of another optimizer", affects="result")
    momentum: float = option(0.0, "momentum of the clients' SGD, fresh in every round", affects="result")
    weight_decay: float = option(0.0, "weight decay of the clients' SGD", affects="result")
    max_update_norm: float | None = option(
        None,
        "largest L2 norm of what a client sends (of weights: of their change); beyond it the client fails in that "
        "round; null: none. What is not finite, or of another shape, fails whatever it is",
        affects="result",
    )
    min_replies: int = option(
        1, "sound replies that the server needs in a round; with fewer it leaves all as it was", affects="result"
    )
    unseen: float = option(
        0.0, "share of the clients, drawn once, that never train and are only scored, in [0, 1)", affects="result"
    )
    init: str | None = option(
        None,
        "start from these weights: a safetensors file, or a run whose global model was kept; null: from random ones",
        affects="result",
    )
    public_samples: int = option(
        0, "samples that no client holds and all may look at (FedMD's public set)", affects="data"
    )
    precision: str = option(
        "float32",
        "arithmetic of the forward pass in clients' training: float32, or bf16 (automatic mixed precision: faster on "
        "processors that have it, other numbers; weights, losses and evaluation stay in float32)",
        affects="result",
    )
    device: str = option(
        "cpu",
        "where clients train and are scored: cpu, or an accelerator (cuda, mps, xpu); with engine=ray each worker "
        "takes its share by engine.resources.num_gpus. Other hardware, other last bits",
        affects="result",
    )
    batch_norm: str = option(
        "aggregate",
        "what happens to BatchNorm layers: aggregate (as other layers), local (they stay with their client), "
        "reset (running statistics are re-estimated on the client's training data before it is scored)",
        affects="result",
    )
    eval_every: int = option(
        1, "score every client after each this many rounds (and after the last); 0: never", affects="result"
    )
    metrics: list[str] = option(
        ["accuracy", "loss"],
        "what models are scored by: the names under Metrics, or PACKAGE.FUNCTION of a plugin; accuracy and loss are "
        "measured even if left out",
        affects="result",
    )
    finetune_epochs: int = option(
        0, "when above 0, also score each personal model after this many local epochs", affects="result"
    )
    splits: list[float] = option(
        [0.6, 0.15, 0.25], "shares of each client's samples: train, validation, test", affects="data"
    )
    checkpoint_every: int | None = option(
        None,
        "write the run's state after each this many rounds and at its end, so that resume=RUN goes on from there; "
        "null: as often as costs little; 0: never",
        affects="nothing",
    )
    save: str = option(
        "auto",
        "write the models that are deployed on the clients, and the global one, into models/: last (after the last "
        "round), best (after the round with the highest mean validation accuracy), none; auto: last, if all together "
        "they take less than 256 MB",
        affects="nothing",
    )
    out: str | None = option(None, "run directory, new or empty; null: runs/EXPERIMENT/TIME", affects="nothing")
    cache: str | None = option(
        None, "folder of prepared data; null: $FEDPERS_CACHE or ~/.cache/fedpers", affects="nothing"
    )
    figures: list[str] = option(
        [], "functions that draw a figure at the end; configs/config.yaml names four", affects="nothing"
    )
    data_figures: list[str] = option(
        [], "functions that draw prepared data for `python -m fedpers.data`", affects="nothing"
    )
    plugins: list[str] = option([], "additional modules that `_target_` may name, e.g. [my_package]", affects="nothing")
    quiet: bool = option(False, "print one line for each evaluation instead of a progress bar", affects="nothing")
    debug: bool = option(False, "show tracebacks", affects="nothing")
    dataset: Spec = option({}, "the images and labels", affects="data")
    partition: Spec = option({}, "who holds which sample", affects="data")
    shift: Spec = option({}, "what else makes a client's samples its own", affects="data")
    model: Spec = option({}, "the network, as a list of stages", affects="result")
    strategy: Spec = option({}, "the algorithm", affects="result")
    optimizer: Spec = option({}, "what moves clients' weights", affects="result")
    schedule: Spec = option({}, "the learning rate over rounds", affects="result")
    augment: Spec = option({}, "what becomes of training images before they are learnt from", affects="result")
    early_stop: Spec = option({}, "when a run ends before its last round", affects="result")
    aggregation: Spec = option({}, "how the server averages what clients send of weights", affects="result")
    faults: Spec = option({}, "what goes wrong on purpose: clients away, slow, failing", affects="result")
    attack: Spec = option({}, "clients that poison what they send", affects="result")
    privacy: Spec = option({}, "noise on what is shared, so that no client shows in it", affects="result")
    engine: Spec = option({}, "where and how clients run", affects="nothing")
    choices: dict[str, str] = option(
        {}, "the name chosen in each group; filled in by the command line", affects="nothing"
    )

    def __post_init__(self) -> None:
        """Check every scalar key; the groups are checked when they are built."""
        for key in ("rounds", "batch_size", "local_epochs", "accumulate", "min_replies"):
            self._require(key, getattr(self, key) >= 1, "a whole number of at least 1")
        for key in ("seed", "finetune_epochs", "eval_every", "public_samples"):
            self._require(key, getattr(self, key) >= 0, "a whole number of at least 0")
        every = self.checkpoint_every
        self._require("checkpoint_every", every is None or every >= 0, "a whole number of at least 0, or null")
        self._require("lr", 0 < self.lr < math.inf, "a number above 0")
        self._require("momentum", 0 <= self.momentum < 1, "a number in [0, 1)")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "a number of at least 0")
        norm = self.max_update_norm
        self._require("max_update_norm", norm is None or 0 < norm < math.inf, "a number above 0, or null")
        self._require(
            "participation",
            0 < self.participation <= 1,
            "a share in (0, 1]: more clients than exist cannot be sampled, and none cannot train",
        )
        self._require("unseen", 0 <= self.unseen < 1, "a share in [0, 1): somebody must train")
        precisions = ("float32", "bf16")
        self._require("precision", self.precision in precisions, f"one of {', '.join(precisions)}")
        choices = ("auto", "none", "last", "best")
        self._require("save", self.save in choices, f"one of {', '.join(choices)}")
        policies = ("aggregate", "local", "reset")
        self._require("batch_norm", self.batch_norm in policies, f"one of {', '.join(policies)}")
        shares = self.splits
        sound = len(shares) == 3 and all(s >= 0 for s in shares) and abs(sum(shares) - 1) < 1e-6
        self._require(
            "splits",
            sound and shares[0] > 0 and shares[2] > 0,
            "three shares [train, validation, test] that sum to 1; only validation may be 0",
        )

    def _require(self, key: str, holds: bool, accepted: str) -> None:
        if not holds:
            raise UserError(f"{key}={getattr(self, key)!r} is not possible. Accepted: {accepted}")

    def num_sampled(self, num_clients: int) -> int:
        """Return how many of `num_clients` clients train in a round."""
        return max(1, round(self.participation * num_clients))

    def unseen_clients(self, num_clients: int) -> frozenset[int]:
        """Return the numbers of the clients that never train."""
        if not self.unseen:
            return frozenset()
        count = min(max(1, round(self.unseen * num_clients)), num_clients - 1)
        drawn = seeds.numpy_generator(self.seed, "unseen").choice(num_clients, count, replace=False)
        return frozenset(int(client) for client in drawn)

    def attackers(self, num_clients: int) -> frozenset[int]:
        """Return the numbers of the clients that poison, drawn from those that may train."""
        if not self.attack:
            return frozenset()
        unseen = self.unseen_clients(num_clients)
        clients = [client for client in range(num_clients) if client not in unseen]
        count = min(max(1, round(float(self.attack["share"]) * len(clients))), len(clients))
        drawn = seeds.numpy_generator(self.seed, "attackers").choice(len(clients), count, replace=False)
        return frozenset(clients[int(position)] for position in drawn)

    def evaluates(self, round: int) -> bool:
        """Tell whether every client is scored after this round (counted from 1)."""
        return bool(self.eval_every) and round > 0 and (round % self.eval_every == 0 or round == self.rounds)

    def for_data(self) -> "Config":
        """Return what preparing the data needs: keys that affect them, cache, plugins; the rest at its defaults."""
        kept = {*(f.name for f in dataclasses.fields(self) if f.metadata["affects"] == "data"), "cache", "plugins"}
        return Config(**{name: getattr(self, name) for name in kept})

    def to_json(self) -> str:
        """Return the configuration as one line of JSON with sorted keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """Read what `to_json` wrote."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """Build a configuration from plain values.

        Raises:
            UserError: a key does not exist.
        """
        if not isinstance(values, dict):
            raise UserError(f"a configuration is no {type(values).__name__}. Accepted: an object with the run's keys")
        known = {f.name for f in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise unknown_name("key", key, known)
        return cls(**values)
