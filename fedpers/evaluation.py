"""Personalized evaluation: every client, sampled or not, on its own validation and test samples."""

from collections.abc import Callable

from flwr.app import ArrayRecord, MessageType, MetricRecord
from flwr.serverapp import Grid

from fedpers import records
from fedpers.algorithm import State
from fedpers.carrier import messages
from fedpers.tables import MODELS, SPLITS, Row


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
        Rows by client, model and split; a client that failed has none.
    """
    clients = {node: client for client, node in nodes.items()}
    rows = []
    for reply in grid.send_and_receive(messages(MessageType.EVALUATE, round, arrays, nodes, own)):
        if reply.has_error():
            continue
        client = clients[reply.metadata.src_node_id]
        figures = records.select(reply.content, MetricRecord)[records.METRICS]
        for model in MODELS:
            for split in SPLITS:
                prefix = f"{model}/{split}"
                if f"{prefix}/accuracy" in figures:
                    rows.append(
                        Row(
                            round=round,
                            client=client,
                            model=model,
                            split=split,
                            num_examples=int(figures[f"{prefix}/num_examples"]),  # type: ignore[arg-type]
                            loss=float(figures[f"{prefix}/loss"]),  # type: ignore[arg-type]
                            accuracy=float(figures[f"{prefix}/accuracy"]),  # type: ignore[arg-type]
                            sampled=client in sampled,
                        )
                    )
    return sorted(rows, key=lambda row: (row.client, MODELS.index(row.model), SPLITS.index(row.split)))
