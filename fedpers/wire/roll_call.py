"""The roll call that finds out who is there."""

import time
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from flwr.app import Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fedpers.errors import FederationError
from fedpers.wire import records


@runtime_checkable
class Registry(Protocol):
    """A Grid that knows its clients, as those of the project's own engines do: they need not be asked."""

    @property
    def clients(self) -> dict[int, int]:
        """Node id by client number, in ascending order."""


def roll_call(grid: Grid, num_clients: int, *, timeout: float = 120.0) -> dict[int, int]:
    """Find out which node is which client: from a Grid that knows, otherwise by asking every node.

    Node ids are random in Flower's runtimes, and nodes register one by one.

    Returns:
        Node id by client number, in ascending order.

    Raises:
        FederationError: not all of `num_clients` clients have answered after `timeout` seconds.
    """
    if isinstance(grid, Registry) and len(grid.clients) == num_clients:
        return grid.clients
    deadline = time.monotonic() + timeout
    found: dict[int, int] = {}
    asked: set[int] = set()
    while True:
        new = sorted(set(grid.get_node_ids()) - asked)
        asked.update(new)
        for reply in grid.send_and_receive(_queries(new), timeout=timeout) if new else ():
            if not reply.has_error():
                number = records.partition_of(records.select(reply.content, MetricRecord)[records.METRICS])
                found[number] = reply.metadata.src_node_id
        if set(range(num_clients)) <= set(found):
            return {number: found[number] for number in range(num_clients)}
        if time.monotonic() > deadline:
            missing = sorted(set(range(num_clients)) - set(found))
            raise FederationError(
                f"{len(missing)} of {num_clients} clients did not answer within {timeout:.0f} seconds, "
                f"the first of them client {missing[0]}"
            )
        time.sleep(0.1)


def _queries(nodes: Iterable[int]) -> list[Message]:
    return [Message(RecordDict(), dst_node_id=node, message_type=MessageType.QUERY) for node in nodes]
