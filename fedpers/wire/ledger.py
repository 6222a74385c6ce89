"""A Grid around a Grid that keeps the books: who was called, what was sent and received, how long it took."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from flwr.app import Message, MessageType, MetricRecord
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedpers import seeds
from fedpers.errors import FederationError
from fedpers.faults.base import CORRUPTED, SIMULATED, SKIPPED
from fedpers.rows import Diagnostic, Entry
from fedpers.wire import records
from fedpers.wire.gate import Gate
from fedpers.wire.passing import PassingGrid


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


class Ledger(PassingGrid):
    """Passes everything on to another Grid and writes it down; what is broken goes no further.

    Args:
        grid: The engine's Grid, perhaps with others around it.
        nodes: Node id by client number.
        gate: Tells which updates are broken; None lets all in.
        min_replies: Sound replies without which a round is skipped.
    """

    def __init__(self, grid: Grid, nodes: dict[int, int], gate: Gate | None = None, min_replies: int = 1) -> None:
        """Start with empty books."""
        super().__init__(grid, nodes)
        self._gate, self._min_replies = gate, min_replies
        self._books = Books([], set(), [])

    def take(self) -> "Books":
        """Return what was recorded since the last call, and forget it."""
        taken, self._books = self._books, Books([], set(), [])
        return taken

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send, receive and record; of a round of training with too few sound replies, failures are all that is told.

        Raises:
            FederationError: every client failed, or so many by themselves that going on would only repeat it.
        """
        sent = list(messages)
        replies = super().send_and_receive(sent, timeout=timeout)
        if not sent:
            return replies
        number = records.round_of(sent[0].content)
        replies = self._let_in(sent, replies)
        self._record_sent(sent, replies, number)
        for reply in replies:
            self._record_reply(reply, number)
        failures = [reply for reply in replies if reply.has_error()]
        own = [reply for reply in failures if not (reply.error.reason or "").startswith(SIMULATED)]
        sound, simulated = len(replies) - len(failures), len(failures) - len(own)
        if not sound and (own or not failures):
            reason = own[0].error.reason if own else "none of them answered in time"
            raise FederationError(
                f"all {len(sent)} clients failed in round {number}. The first: {reason}. Add debug=true for more"
            )
        if _phase(sent[0]) != MessageType.TRAIN or sound >= self._min_replies:
            return replies
        if sound + simulated < self._min_replies:
            why = own[0].error.reason if own else "it did not answer in time"
            raise FederationError(
                f"{sound} of {len(sent)} clients sent a sound update in round {number}, fewer than "
                f"min_replies={self._min_replies}. The first that did not: {why}. Add debug=true for more"
            )
        self._books.diagnostics.append(Diagnostic(number, seeds.SERVER, SKIPPED, 1.0))
        asked = {message.metadata.dst_node_id: message for message in sent}
        return [records.failure(asked[reply.metadata.src_node_id], "the round is skipped") for reply in replies]

    def _let_in(self, sent: list[Message], replies: list[Message]) -> list[Message]:
        """Turn replies to training messages that are broken into the failures of their clients."""
        if self._gate is None or _phase(sent[0]) != MessageType.TRAIN:
            return replies
        asked = {self._clients[message.metadata.dst_node_id]: message for message in sent}
        valid = {self._clients[reply.metadata.src_node_id]: reply.content for reply in replies if not reply.has_error()}
        faults = self._gate.faults(valid, lambda client: asked[client].content)
        if not faults:
            return replies
        self.take_back([asked[client].metadata.dst_node_id for client in faults])
        return [
            records.failure(asked[client], _reason(reply, faults[client]))
            if (client := self._clients[reply.metadata.src_node_id]) in faults
            else reply
            for reply in replies
        ]

    def _record_sent(self, sent: list[Message], replies: list[Message], number: int) -> None:
        """Write down what has gone to clients; to those that are away it has not."""
        away = {
            reply.metadata.src_node_id
            for reply in replies
            if reply.has_error() and reply.error.code == ErrorCode.NODE_UNAVAILABLE
        }
        sizes: dict[int, dict[str, int]] = {}  # clients are often sent one and the same content
        for message in sent:
            content, node = message.content, message.metadata.dst_node_id
            if id(content) not in sizes:
                sizes[id(content)] = records.bytes_by_kind(content)
            if node not in away:
                self._books.entries += [
                    Entry(number, _phase(message), self._clients[node], "down", kind, size)
                    for kind, size in sizes[id(content)].items()
                ]

    def _record_reply(self, reply: Message, number: int) -> None:
        phase, client = _phase(reply), self._clients[reply.metadata.src_node_id]
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


def _phase(message: Message) -> str:
    return message.metadata.message_type.partition(".")[0]


def _reason(reply: Message, fault: str) -> str:
    """Return why a client failed whose reply is broken: by itself, or because that was spoilt on its way."""
    figures = records.select(reply.content, MetricRecord).get(records.METRICS, MetricRecord())
    return f"{SIMULATED}its reply is corrupted: {fault}" if CORRUPTED in figures else fault
