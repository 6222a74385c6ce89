"""A Grid around a Grid that keeps the books: who was called, what was sent and received, how long it took."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

from flwr.app import Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedpers.errors import FederationError
from fedpers.rows import Diagnostic, Entry
from fedpers.wire import records
from fedpers.wire.gate import Gate


@dataclass
class Books:
    """What a Ledger wrote down.

    Args:
        entries: One for each message and payload kind.
        trained: The clients that trained.
        diagnostics: The finite figures that they reported.
    """

    entries: list[Entry]
    trained: set[int]
    diagnostics: list[Diagnostic]


@runtime_checkable
class Forgetful(Protocol):
    """A Grid whose clients can be made to remember what they did before a round, as those of our engines can."""

    def take_back(self, nodes: Iterable[int]) -> None:
        """Let clients forget what they have learnt in this round."""


class Ledger(Grid):
    """Passes everything on to another Grid and writes it down; what is broken goes no further.

    Args:
        grid: The engine's Grid.
        nodes: Node id by client number.
        gate: Tells which updates are broken; None lets all in.
    """

    def __init__(self, grid: Grid, nodes: dict[int, int], gate: Gate | None = None) -> None:
        """Start with empty books."""
        self._grid, self._gate = grid, gate
        self._clients = {node: client for client, node in nodes.items()}
        self._books = Books([], set(), [])

    def take(self) -> "Books":
        """Return what was recorded since the last call, and forget it."""
        taken, self._books = self._books, Books([], set(), [])
        return taken

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send, receive and record.

        Raises:
            FederationError: every client failed; going on would only repeat it.
        """
        sent = list(messages)
        sizes: dict[int, dict[str, int]] = {}  # clients are often sent one and the same content
        for message in sent:
            content = message.content
            if id(content) not in sizes:
                sizes[id(content)] = records.bytes_by_kind(content)
            self._record(message, records.round_of(content), message.metadata.dst_node_id, sizes[id(content)])
        replies = list(self._grid.send_and_receive(sent, timeout=timeout))
        number = records.round_of(sent[0].content) if sent else 0
        replies = self._let_in(sent, replies)
        for reply in replies:
            self._record_reply(reply, number)
        failures = [reply for reply in replies if reply.has_error()]
        if sent and (not replies or len(failures) == len(replies)):
            reason = failures[0].error.reason if failures else "none of them answered in time"
            raise FederationError(
                f"all {len(sent)} clients failed in round {number}. The first: {reason}. Add debug=true for more"
            )
        return replies

    def _let_in(self, sent: list[Message], replies: list[Message]) -> list[Message]:
        """Turn replies to training messages that are broken into the failures of their clients."""
        if self._gate is None or not sent or sent[0].metadata.message_type.partition(".")[0] != MessageType.TRAIN:
            return replies
        asked = {self._clients[message.metadata.dst_node_id]: message for message in sent}
        valid = {self._clients[reply.metadata.src_node_id]: reply.content for reply in replies if not reply.has_error()}
        faults = self._gate.faults(valid, lambda client: asked[client].content)
        broken = {asked[client].metadata.dst_node_id for client in faults}
        if broken and isinstance(self._grid, Forgetful):
            self._grid.take_back(broken)
        return [
            records.failure(asked[client], faults[client])
            if (client := self._clients[reply.metadata.src_node_id]) in faults
            else reply
            for reply in replies
        ]

    def _record(self, message: Message, number: int, node: int, sizes: dict[str, int]) -> None:
        phase, client = message.metadata.message_type.partition(".")[0], self._clients[node]
        self._books.entries += [Entry(number, phase, client, "down", kind, size) for kind, size in sizes.items()]

    def _record_reply(self, reply: Message, number: int) -> None:
        phase, client = (
            reply.metadata.message_type.partition(".")[0],
            self._clients[reply.metadata.src_node_id],
        )
        if reply.has_error():
            self._books.entries.append(Entry(number, phase, client, "up", "error", 0, error=reply.error.reason))
            return
        if phase == MessageType.TRAIN:
            self._books.trained.add(client)
        metrics = next(iter(records.select(reply.content, MetricRecord).values()), None)
        if phase == MessageType.TRAIN and metrics:
            self._books.diagnostics += [
                Diagnostic(number, client, name, float(value))
                for name, value in metrics.items()
                if name not in (records.NUM_EXAMPLES, records.SECONDS)
                and not isinstance(value, list)
                and math.isfinite(value)
            ]
        seconds = cast(float | None, metrics.get(records.SECONDS)) if metrics else None
        for kind, size in records.bytes_by_kind(reply.content).items():
            spent = seconds if kind == "metrics" else None
            self._books.entries.append(Entry(number, phase, client, "up", kind, size, seconds=spent))

    # everything below is passed on

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
        """Send messages, unrecorded."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Receive replies, unrecorded."""
        return self._grid.pull_messages(message_ids)
