"""What the project's own Grids have in common: node ids, messages, contexts, and how a client is called."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Context, Error, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedpers.engines.identity import RUN_ID, assume_server_identity
from fedpers.errors import UserError
from fedpers.wire import records

App = Callable[[Message, Context], Message]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """Calls a ClientApp as one of its clients.

    A client's memory is copied before its call and returned only if the call succeeds, as Flower's runtimes do; a
    client that raises is answered by an error message.

    Args:
        app: The ClientApp.
        num_clients: Number of clients; their partition ids are 0 ... num_clients - 1.
        run_config: What clients find in `context.run_config`.
    """

    app: App
    num_clients: int
    run_config: records.RunConfig

    def call(self, message: Message, state: RecordDict | None) -> tuple[Message, RecordDict | None]:
        """Return the reply to a message and the client's new memory, None if it stays as it was.

        Raises:
            UserError: what is asked of the client is impossible for all clients.
        """
        node_id = message.metadata.dst_node_id
        context = Context(
            run_id=RUN_ID,
            node_id=node_id,
            node_config={records.PARTITION_ID: node_id - 1, "num-partitions": self.num_clients},
            state=RecordDict(dict(state or {})),
            run_config=self.run_config,
        )
        try:
            if not 1 <= node_id <= self.num_clients:
                raise ValueError(f"there is no node {node_id}")
            reply = self.app(message, context)
        except UserError:
            raise
        except Exception as error:  # any bug of a client is that client's loss, not the run's
            log.debug("client %d failed", node_id - 1, exc_info=True)
            return failure(message, f"{type(error).__name__}: {error}"), None
        if message.metadata.message_type.partition(".")[0] != MessageType.TRAIN and _same(context.state, state or {}):
            return reply, None
        return reply, context.state or None


def _same(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return now.keys() == before.keys() and all(now[name] is before[name] for name in now)


def failure(message: Message, reason: str) -> Message:
    """Return the reply of a client that failed."""
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


class SimulatedGrid(Grid):
    """A Grid of clients that run when they are called; it serves any Flower strategy.

    Args:
        num_clients: Number of clients.
    """

    def __init__(self, num_clients: int) -> None:
        """Register the clients."""
        assume_server_identity()
        self._num_clients = num_clients
        self._run = Run.create_empty(RUN_ID)
        self._sent: dict[str, Message] = {}
        self._num_messages = 0

    @abstractmethod
    def answer(self, messages: list[Message]) -> list[Message]:
        """Run the clients that these messages call and return their replies, in the messages' order."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the clients ran on."""

    def set_run(self, run: Run) -> None:
        """Set the run; Flower's runtimes call this."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that messages belong to."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message to a client."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    @property
    def clients(self) -> dict[int, int]:
        """Node id by client number, in ascending order."""
        return {client: client + 1 for client in range(self._num_clients)}

    def get_node_ids(self) -> Iterable[int]:
        """Return the clients' node ids: their partition ids plus one, since zero is the server."""
        return range(1, self._num_clients + 1)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages to run when they are pulled."""
        ids = []
        for message in messages:
            self._num_messages += 1
            message.metadata.__dict__["_message_id"] = str(self._num_messages)
            self._sent[str(self._num_messages)] = message
            ids.append(str(self._num_messages))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Run the clients that these messages call and return their replies, in the messages' order."""
        return self.answer([self._sent.pop(message_id) for message_id in message_ids])

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Run the clients that the messages call and return their replies, in the messages' order."""
        return self.pull_messages(self.push_messages(messages))
