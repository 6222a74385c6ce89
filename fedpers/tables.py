"""The rows of the tables that a run leaves behind."""

import types
import typing
from dataclasses import dataclass

import pyarrow as pa

MODELS = ("personal", "global", "finetuned")
SPLITS = ("val", "test")


@dataclass(frozen=True)
class Row:
    """One line of the metric table: a client's model on one of its splits after one round.

    Args:
        round: The round, counted from 1.
        client: The client's number.
        model: "personal", "global" or "finetuned".
        split: "val" or "test".
        num_examples: Samples in the split.
        loss: Mean cross-entropy in nats.
        accuracy: Share of correct answers, 0 to 1.
        sampled: Whether the client trained in this round.
    """

    round: int
    client: int
    model: str
    split: str
    num_examples: int
    loss: float
    accuracy: float
    sampled: bool


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
    values = [row.accuracy for row in rows if row.model == "personal" and row.split == split]
    return sum(values) / len(values) if values else None


_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}


def arrow_schema(row: type) -> pa.Schema:
    """Return the columns of a table of rows; a field that may be None is nullable."""
    fields = []
    for name, hint in typing.get_type_hints(row).items():
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        fields.append(pa.field(name, _ARROW[options[0]], nullable=types.NoneType in options))
    return pa.schema(fields)
