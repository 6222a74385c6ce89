"""What runs in a Ray worker process: calls of many clients, and the memory that they leave in the object store."""

import faulthandler
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.app.metadata import Metadata

from fedpers import client_app, given
from fedpers.engines.grid import Caller
from fedpers.engines.identity import assume_server_identity
from fedpers.errors import UserError
from fedpers.given import Given
from fedpers.wire import records
from fedpers.wire.packing import share


@dataclass(frozen=True)
class Call:
    """One client's call, ready to travel.

    Args:
        metadata: The message's.
        own: Its records, but for arrays that other clients are sent as well.
        shared: These arrays' numbers in the round's common arrays, by record name.
    """

    metadata: Metadata
    own: RecordDict
    shared: dict[str, int]

    def message(self, common: list[ArrayRecord]) -> Message:
        """Put the message together again."""
        content = RecordDict({name: common[number] for name, number in self.shared.items()})
        for name, record in self.own.items():
            content[name] = record
        message: Message = Message(content=content, metadata=self.metadata)  # type: ignore[call-overload]
        return message


@dataclass(frozen=True)
class Answer:
    """What one client's call brought.

    Args:
        reply: The reply.
        has_new_memory: Whether the client's memory has changed.
        memory: The new memory, unless it is returned apart.
    """

    reply: Message
    has_new_memory: bool
    memory: RecordDict | None


class RayWorker:
    """A Ray actor that holds model and data, and calls clients one after the other.

    Args:
        run_config: What clients find in `context.run_config`.
        num_clients: Number of clients in the federation.
        path: Where the driver finds modules, plugins among them.
        debug: Whether to log what clients raise.
        client_timeout: Seconds that a client may take for an answer; None for as long as it wants.
        objects: What the configuration names that only the driver's program has.
    """

    def __init__(
        self,
        run_config: records.RunConfig,
        num_clients: int,
        path: list[str],
        debug: bool,
        client_timeout: float | None,
        objects: Mapping[str, Given],
    ) -> None:
        """Make this process able to answer messages."""
        given.take(objects)
        sys.path += [folder for folder in path if folder not in sys.path]
        assume_server_identity()
        logging.getLogger("flwr").setLevel(logging.DEBUG if debug else logging.ERROR)
        if debug:
            logging.basicConfig(level=logging.DEBUG)
        self._caller = Caller(client_app.app, num_clients, run_config)
        self._timeout = client_timeout
        self._common: tuple[str, list[ArrayRecord]] = ("", [])

    def place(self) -> tuple[str, int]:
        """Return the id of the Ray node that this process runs on, and its process id there."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def ready(self) -> UserError | None:
        """Open the data and build the model, so that the first round finds them; return a user's mistake."""
        try:
            client_app.desk_of(self._caller.run_config)
        except UserError as error:
            return error
        return None

    def run(
        self, calls: list[Call], common: "list[ray.ObjectRef[Any]]", apart: bool, *states: RecordDict | None
    ) -> Any:
        """Call clients one after the other.

        Args:
            calls: The calls.
            common: A reference to the arrays that many clients are sent, wrapped so that Ray passes it on unopened: a
                worker opens it once a round.
            apart: Whether clients' new memories are return values of their own. They then belong to the driver, which
                need not read them, and outlive this process; but each costs time, even where there is none.
            *states: Each client's memory.

        Returns:
            The list of answers, or the user's mistake that makes them impossible; apart, followed by each client's
            new memory, None where it stays as it was.
        """
        arrays = self._open(common[0])
        answers: list[Answer] = []
        kept: list[RecordDict | None] = []
        for call, state in zip(calls, states, strict=True):
            try:
                with ending_after(self._timeout):
                    reply, new = self._caller.call(call.message(arrays), state)
            except UserError as error:
                return [error, *(None for _ in calls)] if apart else error
            for record in _arrays(reply, new):
                share(record.values())
            answers.append(Answer(reply, new is not None, None if apart else new))
            kept.append(new)
        return [answers, *kept] if apart else answers

    def _open(self, reference: "ray.ObjectRef[Any]") -> list[ArrayRecord]:
        name = reference.hex()
        if self._common[0] != name:
            self._common = (name, ray.get(reference))
        return self._common[1]


@contextmanager
def ending_after(seconds: float | None) -> Iterator[None]:
    """End this process, wherever it hangs, if a block takes longer; its standard error then tells where that was."""
    if seconds is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, file=sys.__stderr__ or sys.stderr, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _arrays(reply: Message, memory: RecordDict | None) -> list[ArrayRecord]:
    """Return all that is large in a reply and in a client's new memory."""
    contents = [reply.content] if reply.has_content() else []
    return [
        record
        for content in (*contents, *([memory] if memory else []))
        for record in records.select(content, ArrayRecord).values()
    ]
