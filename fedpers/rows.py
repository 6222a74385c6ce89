"""The rows of the tables that a run leaves behind, and how what they name is called; `fedpers.results` has the tables.

Whoever measures imports this and not the tables: clients in processes of their own need no library that reads them.
"""

import re
from dataclasses import dataclass, fields
from functools import lru_cache

MODELS = ("personal", "global", "finetuned")
SPLITS = ("val", "test")
ALWAYS = ("accuracy", "loss")
"""The metrics that every run measures."""


@dataclass(frozen=True)
class Row:
    """One line of the metric table: one figure of a client's model on one of its splits after one round.

    Args:
        round: The round, counted from 1.
        client: The client's number.
        model: "personal", "global" or "finetuned".
        split: "val" or "test".
        num_examples: Samples in the split.
        metric: "accuracy", "loss", ... (`fedpers.scoring`); a slash parts the figures of one ("class_accuracy/3").
        value: The figure: finite, but for the loss of a model that has diverged.
        sampled: Whether the client trained in this round.
    """

    round: int
    client: int
    model: str
    split: str
    num_examples: int
    metric: str
    value: float
    sampled: bool


COLUMNS = tuple(field.name for field in fields(Row))


@dataclass(frozen=True)
class Entry:
    """One payload kind of one message.

    Args:
        round: The round, counted from 1.
        phase: "train", or "evaluate" for messages that exist only to measure.
        client: The client's number.
        direction: "down" from the server, "up" to it.
        kind: weights, heads, representations, soft_labels, labels, prototypes, control, metrics, or error.
        bytes: Serialized size.
        seconds: What the client took; given once a reply, with its metrics.
        error: Why the client failed, if it did.
    """

    round: int
    phase: str
    client: int
    direction: str
    kind: str
    bytes: int
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Diagnostic:
    """One figure of the training phase of a round.

    Args:
        round: The round, counted from 1.
        client: The client's number; -1 for the server.
        name: What was measured, e.g. "loss"; a slash separates parts ("drift/conv1").
        value: The figure.
    """

    round: int
    client: int
    name: str
    value: float


def mean_accuracy(rows: list[Row], split: str) -> float | None:
    """Return the personal models' mean accuracy over clients, None without evaluation."""
    values = [row.value for row in rows if (row.model, row.split, row.metric) == ("personal", split, "accuracy")]
    return sum(values) / len(values) if values else None


@lru_cache
def metric_rank(name: str) -> tuple[int, list[str | int]]:
    """Return a key that sorts metrics: accuracy, loss, then by name, numbers in them by size."""
    first = ALWAYS.index(name) if name in ALWAYS else len(ALWAYS)
    return first, [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
