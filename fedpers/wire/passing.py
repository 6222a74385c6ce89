"""A Grid around a Grid that passes everything on: what the project's own layers around an engine's Grid build on."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run


@runtime_checkable
class Forgetful(Protocol):
    """A Grid whose clients can be made to remember what they did before a round, as those of our engines can."""

    def take_back(self, nodes: Iterable[int]) -> None:
        """Let clients forget what they have learnt in this round."""


class PassingGrid(Grid):
    """Passes everything on to another Grid.

    Args:
        grid: That Grid.
        nodes: Node id by client number.
    """

    def __init__(self, grid: Grid, nodes: dict[int, int]) -> None:
        """Remember which node is which client."""
        self._grid = grid
        self._clients = {node: client for client, node in nodes.items()}

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send and receive."""
        return list(self._grid.send_and_receive(messages, timeout=timeout))

    def take_back(self, nodes: Iterable[int]) -> None:
        """Let clients forget what they have learnt in this round, if they can be made to."""
        if isinstance(self._grid, Forgetful):
            self._grid.take_back(nodes)

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run that messages belong to."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message to a client."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the clients' node ids."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Receive replies."""
        return self._grid.pull_messages(message_ids)
