"""Rows of tables, for tests that write runs without running them."""

from fedpers.rows import Entry, Row


def row(round: int, client: int, accuracy: float, *, split: str = "test", n: int = 10, model: str = "personal") -> Row:
    return Row(round, client, model, split, n, "accuracy", accuracy, sampled=True)


def entry(round: int, direction: str, kind: str, size: int, **changes: object) -> Entry:
    return Entry(round, str(changes.pop("phase", "train")), 0, direction, kind, size, **changes)  # type: ignore[arg-type]
