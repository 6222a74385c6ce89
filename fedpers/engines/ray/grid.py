"""A Flower Grid over Ray actors, on one machine or on a cluster.

Workers keep the model and the memory-mapped data. What many clients are sent is put into the object store once a
round. Clients are called in batches that are balanced by samples, and handed out as workers become free; which worker
serves a client changes no bit. A client's memory stays in the object store and is passed on by reference: it belongs
to the driver, so it outlives the worker that wrote it, and Ray moves it to disk when memory is short.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import ray
from flwr.app import ArrayRecord, Message, MessageType, RecordDict
from ray import exceptions

from fedpers.engines.grid import Memories, SimulatedGrid
from fedpers.engines.ray.round import Ref, Round, Worker
from fedpers.engines.ray.worker import Answer
from fedpers.errors import FederationError, UserError
from fedpers.wire import records
from fedpers.wire.packing import share

BATCHES = 4
"""Batches for each worker in a round: fewer balance badly, more cost calls."""

BATCH_SECONDS = 0.08
"""Work that is worth a batch of its own: a call of Ray's costs some milliseconds."""

AHEAD = 2
"""Batches that a worker has at a time: the one that it runs, and the next, so that it never waits."""

OVERHEAD = 10
"""Samples whose training takes about as long as calling a client at all."""

log = logging.getLogger(__name__)


class RayGrid(SimulatedGrid[Ref]):
    """A Grid that calls the project's ClientApp in Ray actors; it serves any Flower strategy.

    Args:
        run_config: What clients find in `context.run_config`.
        sizes: Samples of each client, by partition id.
        start: Starts an actor.
        num_workers: Number of actors.
        retries: Times that a batch is called again when its worker died.
        client_timeout: Seconds that a client may take for an answer; None for as long as it wants.
        start_timeout: Seconds to wait for the actors.

    Raises:
        UserError: the data cannot be opened or the model not be built.
        FederationError: no worker has started in time.
    """

    def __init__(
        self,
        run_config: records.RunConfig,
        sizes: Sequence[int],
        start: Callable[[records.RunConfig, int], Any],
        num_workers: int,
        retries: int,
        client_timeout: float | None,
        start_timeout: float,
    ) -> None:
        """Start the workers and wait for them."""
        super().__init__(len(sizes))
        self._sizes = dict(enumerate(sizes, start=1))  # by node id
        self._retries, self._client_timeout, self._timeout = retries, client_timeout, start_timeout
        self._new = lambda: Worker(start(run_config, len(sizes)))
        self._remember = True  # until a training round shows that clients have nothing to remember
        self._pace = 1.0  # seconds of a worker for one unit of weight; learnt
        self._workers: list[Worker] = []
        self._starting = [self._new() for _ in range(num_workers)]
        self._num_workers = num_workers
        self._died = ""
        ray.wait([worker.ready for worker in self._starting], num_returns=num_workers, timeout=start_timeout)
        try:
            self._welcome()
            if not self._workers:
                reason = self._died or f"none was ready after {start_timeout:g} seconds, see engine.start_timeout"
                raise FederationError(f"no Ray worker could be started: {reason}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the workers at once and forget the clients' memory."""
        for worker in (*self._workers, *self._starting):
            ray.kill(worker.actor)
        self._workers, self._starting, self.memories = [], [], Memories()

    @property
    def places(self) -> list[tuple[str, int]]:
        """Where the workers run: Ray's node id and the process id on that machine."""
        return [ray.get(worker.actor.place.remote()) for worker in self._workers]

    def answer(self, messages: list[Message]) -> list[Message]:
        """Run the clients that these messages call and return their replies, in the messages' order.

        Raises:
            UserError: what is asked of the clients is impossible.
            FederationError: all workers have died and none could be started again.
        """
        if not messages:
            return []
        weights = [OVERHEAD + self._sizes.get(message.metadata.dst_node_id, 0) for message in messages]
        start = time.perf_counter()
        work = self._pace * sum(weights) / self._num_workers
        num_batches = min(BATCHES, max(1, round(work / BATCH_SECONDS)))
        trains = messages[0].metadata.message_type.partition(".")[0] == MessageType.TRAIN
        current = Round(messages, weights, num_batches * self._num_workers)
        while current.waiting or any(worker.running for worker in self._workers):
            for number in range(AHEAD):
                for worker in self._workers:
                    if current.may_give(worker, number):
                        current.give(worker, self.memories, apart=trains and self._remember)
            for worker in self._wait():
                self._collect(worker, current)
        if trains:
            self._remember = current.has_new_memories
        self._pace = (time.perf_counter() - start) * self._num_workers / sum(weights)
        return [reply for reply in current.replies if reply is not None]

    def hold(self, memory: RecordDict) -> Ref:
        """Put a memory into the object store."""
        for record in records.select(memory, ArrayRecord).values():
            share(record.values())
        return ray.put(memory)

    def look_up(self, held: Ref) -> RecordDict:
        """Return a memory from the object store."""
        return cast(RecordDict, ray.get(held))

    def _wait(self) -> list[Worker]:
        """Return the workers of which something has been heard, after letting in those that have started."""
        waited = {running.replies: worker for worker in self._workers for running in worker.running}
        starting = [worker.ready for worker in self._starting]
        if not waited and not starting:
            raise FederationError(f"all Ray workers have died, and none could be started again: {self._died}")
        timeout = None if waited else self._timeout
        done, _ = ray.wait([*waited, *starting], num_returns=1, timeout=timeout)
        if not done:
            raise FederationError(f"all Ray workers have died, and none was back after {self._timeout:g} seconds")
        self._welcome()
        return list(dict.fromkeys(waited[ref] for ref in done if ref in waited))

    def _welcome(self) -> None:
        """Let in the workers that are ready; forget those that died on the way."""
        for worker in list(self._starting):
            done, _ = ray.wait([worker.ready], timeout=0)
            if done:
                self._starting.remove(worker)
                try:
                    error = cast(UserError | None, ray.get(worker.ready))
                except exceptions.RayError as died:
                    self._died = " ".join(str(died).split())
                    continue
                if error is not None:
                    raise error
                self._workers.append(worker)

    def _collect(self, worker: Worker, round: Round) -> None:
        """Take what a worker has finished; replace it if it has died."""
        while worker.running and ray.wait([worker.running[0].replies], timeout=0)[0]:
            running = worker.running.popleft()
            try:
                found = cast(list[Answer] | UserError, ray.get(running.replies))
            except exceptions.RayError as error:
                log.debug("a batch of %d clients was lost", len(running.batch.positions), exc_info=error)
                round.lose(running, error, self._retries, self._client_timeout)
                if isinstance(error, exceptions.RayActorError):
                    self._replace(worker, round)
                continue
            if isinstance(found, UserError):
                raise found
            apart = running.states or [None] * len(found)
            for position, answer, state in zip(running.batch.positions, found, apart, strict=True):
                round.replies[position] = answer.reply
                if answer.has_new_memory:
                    round.has_new_memories = True
                    self.memories[round.node(position)] = state or ray.put(answer.memory)

    def _replace(self, worker: Worker, round: Round) -> None:
        """Start another worker instead of one that died; what it had not begun goes to the others."""
        round.waiting.extendleft(running.batch for running in reversed(worker.running))
        worker.running.clear()
        self._workers.remove(worker)
        ray.kill(worker.actor)
        self._starting.append(self._new())
