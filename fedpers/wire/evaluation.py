"""Personalized evaluation: every client, sampled or not, on its own validation and test samples."""

import itertools
from collections.abc import Callable

from flwr.app import ArrayRecord, MessageType, MetricRecord
from flwr.serverapp import Grid

from fedpers.algorithm import State
from fedpers.rows import MODELS, SPLITS, Row, metric_rank
from fedpers.wire import records
from fedpers.wire.carrier import messages


def evaluate_clients(
    grid: Grid,
    round: int,
    arrays: ArrayRecord,
    nodes: dict[int, int],
    own: Callable[[int], State],
    sampled: set[int],
) -> list[Row]:
    """Score every client after a round.

    Args:
        grid: Reaches the clients.
        round: The round, counted from 1.
        arrays: What the server would send to all clients now.
        nodes: Node id by client number.
        own: Tells what a client alone is sent.
        sampled: The clients that trained in this round.

    Returns:
        Rows by client, model, split and metric; a client that failed has none.
    """
    clients = {node: client for client, node in nodes.items()}
    rows = []
    for reply in grid.send_and_receive(messages(MessageType.EVALUATE, round, arrays, nodes, own)):
        if not reply.has_error():
            client = clients[reply.metadata.src_node_id]
            figures = records.select(reply.content, MetricRecord)[records.METRICS]
            rows += _rows(round, client, figures, sampled=client in sampled)
    return sorted(rows, key=lambda row: row.client)


def _rows(round: int, client: int, figures: MetricRecord, *, sampled: bool) -> list[Row]:
    """Return the rows of a reply, whose figures are called "model/split/metric"; a metric's name may have a slash."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for key, value in figures.items():
        *part, name = key.split("/", 2)
        found.setdefault(tuple(part), {})[name] = value  # type: ignore[assignment]
    rows = []
    for model, split in itertools.product(MODELS, SPLITS):
        values = found.get((model, split), {})
        num_examples = int(values.pop("num_examples", 0))
        for name in sorted(values, key=metric_rank):
            rows.append(Row(round, client, model, split, num_examples, name, float(values[name]), sampled))
    return rows
