"""What the project's own Grids have in common: node ids, messages, contexts, and how a client is called."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flwr.app import Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedpers.config.keys import Config
from fedpers.data.shards import Shards
from fedpers.engines.identity import RUN_ID, assume_server_identity
from fedpers.errors import UserError
from fedpers.progress import Reporter
from fedpers.task import State
from fedpers.wire import records
from fedpers.wire.records import failure

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


def late(client_timeout: float | None) -> str:
    """Return why a client failed that has taken too long."""
    return f"no answer after {client_timeout:g} seconds (engine.client_timeout)"


def check_client_timeout(seconds: float | None) -> None:
    """Raise a UserError unless so many seconds can be waited for a client."""
    if seconds is not None and not seconds > 0:
        raise UserError(f"engine.client_timeout={seconds} is not possible. Accepted: seconds above 0, or null")


class OpensGrid:
    """An engine whose clients answer where the server is, so that its rounds can be stepped through."""

    def opened(self, config: Config, shards: Shards) -> AbstractContextManager[Grid]:
        """Return a context in which there is a Grid of the clients that the prepared data has.

        Raises:
            UserError: what the engine runs on is not there, or too small.
            FederationError: no worker has started in time.
        """
        raise NotImplementedError

    def run(self, config: Config, shards: Shards, serve: Callable[[Grid], None], reporter: Reporter) -> None:
        """Call `serve` with such a Grid; errors are those of `opened`, and of `serve`."""
        with self.opened(config, shards) as grid:
            serve(grid)


Held = TypeVar("Held")
"""How an engine holds a client's memory: itself, or a reference to it."""


class Memories(Generic[Held]):
    """What clients remember, by node id, as an engine holds it; new in a round takes the place of old when that ends.

    So there is always what all clients remembered after one and the same round, even while another one is running.
    """

    def __init__(self) -> None:
        """Start with clients that remember nothing."""
        self._before: dict[int, Held] = {}
        self._new: dict[int, Held] = {}
        self.changed: set[int] = set()

    def __getitem__(self, node: int) -> Held | None:
        """Return the newest memory of a client, None if it has none."""
        return self._new[node] if node in self._new else self._before.get(node)

    def __setitem__(self, node: int, memory: Held) -> None:
        """Let a client remember something."""
        self._new[node] = memory

    def take_back(self, node: int) -> None:
        """Let a client remember what it did before this round."""
        self._new.pop(node, None)

    def end_round(self) -> None:
        """Let what is new take its place."""
        self._before |= self._new
        self.changed |= self._new.keys()
        self._new = {}

    @property
    def settled(self) -> dict[int, Held]:
        """What clients remembered when the last round ended."""
        return self._before


class SimulatedGrid(Grid, Generic[Held]):
    """A Grid of clients that run when they are called; it serves any Flower strategy.

    Args:
        num_clients: Number of clients.
    """

    def __init__(self, num_clients: int) -> None:
        """Register the clients."""
        assume_server_identity()
        self._num_clients = num_clients
        self.memories: Memories[Held] = Memories()
        self._run = Run.create_empty(RUN_ID)
        self._sent: dict[str, Message] = {}
        self._num_messages = 0

    @abstractmethod
    def answer(self, messages: list[Message]) -> list[Message]:
        """Run the clients that these messages call and return their replies, in the messages' order."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the clients ran on."""

    @abstractmethod
    def hold(self, memory: RecordDict) -> Held:
        """Return what stands for a memory in this engine."""

    @abstractmethod
    def look_up(self, held: Held) -> RecordDict:
        """Return the memory that this stands for."""

    def take_back(self, nodes: Iterable[int]) -> None:
        """Let clients remember what they did before this round: the server did not take what they sent in it."""
        for node in nodes:
            self.memories.take_back(node)

    def end_round(self) -> None:
        """Let the memories that a round has made take the place of the earlier ones."""
        self.memories.end_round()

    def remembering(self) -> set[int]:
        """Return the clients that remembered something when the last round ended."""
        return {node - 1 for node in self.memories.settled}

    def changed(self) -> set[int]:
        """Return those whose memory is another one than when it was last written."""
        return {node - 1 for node in self.memories.changed}

    def memory(self, client: int) -> State:
        """Return what a client remembered when the last round ended; not to be written to."""
        return records.view_state(self.look_up(self.memories.settled[client + 1]))

    def written(self, clients: set[int]) -> None:
        """Be told whose memory has been written."""
        self.memories.changed -= {client + 1 for client in clients}

    def remind(self, client: int, memory: State) -> None:
        """Give a client its memory, before the first round."""
        content = RecordDict({records.STATE: records.to_record(memory)})
        self.memories.settled[client + 1] = self.hold(content)

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
