"""Engine `local`: a Flower Grid inside this process. Clients run on a few threads, one PyTorch thread each."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedpers import client_app
from fedpers.config.keys import Config
from fedpers.data.shards import Shards
from fedpers.engines.crew import Crew
from fedpers.engines.grid import App, Caller, OpensGrid, SimulatedGrid, check_client_timeout, late
from fedpers.errors import UserError
from fedpers.wire import records

Answer = tuple[Message, RecordDict | None]
"""A client's reply and its new memory, if that has changed."""


class LocalGrid(SimulatedGrid[RecordDict]):
    """A Grid that calls a ClientApp in this process.

    Args:
        app: The ClientApp.
        num_clients: Number of clients; their partition ids are 0 ... num_clients - 1.
        run_config: What clients find in `context.run_config`.
        num_threads: Clients that run at the same time.
        client_timeout: Seconds that a client may take for an answer; None for as long as it wants.
    """

    def __init__(
        self,
        app: App,
        num_clients: int,
        run_config: records.RunConfig,
        num_threads: int = 1,
        client_timeout: float | None = None,
    ) -> None:
        """Register the clients and start the threads."""
        super().__init__(num_clients)
        self._caller = Caller(app, num_clients, run_config)
        self._crew = Crew(num_threads, client_timeout)
        self._timeout = client_timeout

    def close(self, *, wait: bool = True) -> None:
        """Stop the threads, after the clients that are running unless nobody is to wait for them."""
        self._crew.close(wait=wait)

    def answer(self, messages: list[Message]) -> list[Message]:
        """Run the clients that these messages call and return their replies, in the messages' order."""
        answers = self._crew.map(self._call, messages, self._late)
        for message, (_, memory) in zip(messages, answers, strict=True):
            if memory is not None:
                self.memories[message.metadata.dst_node_id] = memory
        return [reply for reply, _ in answers]

    def _call(self, message: Message) -> Answer:
        return self._caller.call(message, self.memories[message.metadata.dst_node_id])

    def _late(self, message: Message) -> Answer:
        return records.failure(message, late(self._timeout)), None

    def hold(self, memory: RecordDict) -> RecordDict:
        """Hold a memory itself."""
        return memory

    def look_up(self, held: RecordDict) -> RecordDict:
        """Return the memory itself."""
        return held


@dataclass(frozen=True)
class LocalEngine(OpensGrid):
    """Run the whole federation in this process.

    Args:
        num_threads: Clients that train at the same time.
        client_timeout: Seconds that a client may take for an answer, training or scoring; None for as long as it wants.
            The thread of one that takes longer is given up, and ends with the process at the latest.
    """

    runs_here: ClassVar[bool] = True  # so that a device that is not there is known before anything is written

    num_threads: int
    client_timeout: float | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        check_client_timeout(self.client_timeout)
        if self.num_threads < 1:
            raise UserError(f"engine.num_threads={self.num_threads} is not possible. Accepted: at least 1")

    @contextmanager
    def opened(self, config: Config, shards: Shards) -> Iterator[Grid]:
        """Open a Grid of the clients that the prepared data has."""
        limit_torch_threads()
        run_config = client_app.run_config(config, shards)
        grid = LocalGrid(client_app.app, shards.num_clients, run_config, self.num_threads, self.client_timeout)
        try:
            yield grid
        except KeyboardInterrupt:
            grid.close(wait=False)
            raise
        except BaseException:
            grid.close()
            raise
        grid.close()


def limit_torch_threads() -> None:
    """Use one PyTorch thread in the server too: how many there are may change the last bits of a sum."""
    if threading.current_thread() is threading.main_thread():
        torch.set_num_threads(1)
