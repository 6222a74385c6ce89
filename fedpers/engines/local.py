"""Engine `local`: a Flower Grid inside this process. Clients run on a few threads, one PyTorch thread each."""

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedpers import client_app, records
from fedpers.config import Config
from fedpers.engines.identity import RUN_ID, assume_server_identity
from fedpers.errors import UserError

App = Callable[[Message, Context], Message]
log = logging.getLogger(__name__)


class LocalGrid(Grid):
    """A Grid that calls a ClientApp in this process; it serves any Flower strategy.

    A client's context is copied before its call and kept only if the call returns, as Flower's runtimes do; a client
    that raises is answered by an error message.

    Args:
        app: The ClientApp.
        num_clients: Number of clients; their partition ids are 0 ... num_clients - 1.
        run_config: What clients find in `context.run_config`.
        num_threads: Clients that run at the same time.
    """

    def __init__(
        self,
        app: App,
        num_clients: int,
        run_config: dict[str, str | int | float | bool],
        num_threads: int = 1,
    ) -> None:
        """Register the clients and start the threads."""
        assume_server_identity()
        self._app = app
        self._num_clients = num_clients
        self._run_config = run_config
        self._states: dict[int, RecordDict] = {}
        self._run = Run.create_empty(RUN_ID)
        self._pool = ThreadPoolExecutor(num_threads, "client", initializer=torch.set_num_threads, initargs=(1,))
        self._sent: dict[str, Message] = {}
        self._num_messages = 0

    def close(self) -> None:
        """Stop the threads after the clients that are running."""
        self._pool.shutdown(wait=True, cancel_futures=True)

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
        messages = [self._sent.pop(message_id) for message_id in message_ids]
        return list(self._pool.map(self._call, messages))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Run the clients that the messages call and return their replies, in the messages' order."""
        return self.pull_messages(self.push_messages(messages))

    def _call(self, message: Message) -> Message:
        node_id = message.metadata.dst_node_id
        context = Context(
            run_id=RUN_ID,
            node_id=node_id,
            node_config={records.PARTITION_ID: node_id - 1, "num-partitions": self._num_clients},
            state=RecordDict(dict(self._states.get(node_id, {}))),
            run_config=self._run_config,
        )
        try:
            if not 1 <= node_id <= self._num_clients:
                raise ValueError(f"there is no node {node_id}")
            reply = self._app(message, context)
        except UserError:
            raise
        except Exception as error:  # any bug of a client is that client's loss, not the run's
            log.debug("client %d failed", node_id - 1, exc_info=True)
            reason = f"{type(error).__name__}: {error}"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
        if context.state:
            self._states[node_id] = context.state
        return reply


@dataclass(frozen=True)
class LocalEngine:
    """Run the whole federation in this process.

    Args:
        num_threads: Clients that train at the same time.
    """

    num_threads: int

    def __post_init__(self) -> None:
        """Check the number of threads."""
        if self.num_threads < 1:
            raise UserError(f"engine.num_threads={self.num_threads} is not possible. Accepted: at least 1")

    def run(self, config: Config, num_clients: int, serve: Callable[[Grid], None]) -> None:
        """Call `serve` with a Grid of `num_clients` clients."""
        _limit_torch_threads()
        grid = LocalGrid(client_app.app, num_clients, {records.RUN_CONFIG: config.to_json()}, self.num_threads)
        try:
            serve(grid)
        finally:
            grid.close()


def _limit_torch_threads() -> None:
    """Use one PyTorch thread in the server too: how many there are may change the last bits of a sum."""
    if threading.current_thread() is threading.main_thread():
        torch.set_num_threads(1)
