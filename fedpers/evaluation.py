"""Personalized evaluation: every client, sampled or not, on its own validation and test samples."""

from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedpers import records

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


def evaluate_clients(
    grid: Grid, round: int, arrays: ArrayRecord, nodes: dict[int, int], sampled: set[int]
) -> list[Row]:
    """Score every client after a round.

    Args:
        grid: Reaches the clients.
        round: The round, counted from 1.
        arrays: What the server would send to all clients now.
        nodes: Node id by client number.
        sampled: The clients that trained in this round.

    Returns:
        Rows by client, model and split; a client that failed has none.
    """
    content = RecordDict({records.ARRAYS: arrays, records.CONFIG: ConfigRecord({records.ROUND: round})})
    messages = [Message(content, dst_node_id=n, message_type=MessageType.EVALUATE) for n in nodes.values()]
    clients = {node: client for client, node in nodes.items()}
    rows = []
    for reply in grid.send_and_receive(messages):
        if reply.has_error():
            continue
        client = clients[reply.metadata.src_node_id]
        figures = reply.content.metric_records[records.METRICS]
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
