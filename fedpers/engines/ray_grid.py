"""A Flower Grid over Ray actors, on one machine or on a cluster.

Workers keep the model and the memory-mapped data. What many clients are sent is put into the object store once a
round. Clients are called in batches that are balanced by samples, and handed out as workers become free; which worker
serves a client changes no bit. A client's memory stays in the object store and is passed on by reference: it belongs
to the driver, so it outlives the worker that wrote it, and Ray moves it to disk when memory is short.
"""

import heapq
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import ray
from flwr.app import ArrayRecord, Message, RecordDict
from ray import exceptions

from fedpers import records
from fedpers.engines.grid import SimulatedGrid, failure
from fedpers.engines.ray_worker import Call
from fedpers.errors import FederationError, UserError

Ref = Any
"""A `ray.ObjectRef`."""

BATCHES = 4
"""Batches for each worker in a round: fewer balance badly, more cost calls."""

AHEAD = 2
"""Batches that a worker has at a time: the one that it runs, and the next, so that it never waits."""

OVERHEAD = 10
"""Samples whose training takes about as long as calling a client at all."""

log = logging.getLogger(__name__)


@dataclass
class Batch:
    """Clients that are called together.

    Args:
        positions: Their messages' positions in the round.
        failures: How often a worker died of it, or at least while running it.
    """

    positions: list[int]
    failures: int = 0


@dataclass
class Running:
    """A batch in the hands of a worker.

    Args:
        batch: The batch.
        replies: Reference to the replies.
        states: References to the clients' new memories.
    """

    batch: Batch
    replies: Ref
    states: list[Ref]


class Worker:
    """The driver's view of one actor.

    Args:
        actor: The actor.
    """

    def __init__(self, actor: Any) -> None:
        """Ask the actor to get ready."""
        self.actor = actor
        self.ready: Ref = actor.ready.remote()
        self.running: deque[Running] = deque()


class Round:
    """Messages on their way to replies.

    Args:
        messages: The messages.
        weights: How long each client will take, in any unit.
        num_batches: Batches to make of them.
    """

    def __init__(self, messages: list[Message], weights: Sequence[int], num_batches: int) -> None:
        """Put what many clients are sent into the object store."""
        self.messages = messages
        self.replies: list[Message | None] = [None] * len(messages)
        self.waiting = deque(Batch(positions) for positions in balance(weights, num_batches))
        self._calls, common = pack(messages)
        self._common = [ray.put(common)]

    def node(self, position: int) -> int:
        """Return the node id that a message is for."""
        return self.messages[position].metadata.dst_node_id

    def give(self, worker: Worker, states: dict[int, Ref]) -> None:
        """Give the next batch to a worker, with the clients' memories."""
        batch = self.waiting.popleft()
        memories = [states.get(self.node(position)) for position in batch.positions]
        run = worker.actor.run.options(num_returns=1 + len(memories))
        first, *rest = run.remote([self._calls[position] for position in batch.positions], self._common, *memories)
        worker.running.append(Running(batch, first, rest))

    def lose(self, batch: Batch, error: Exception, retries: int) -> None:
        """Let a batch whose worker was lost be tried again, or its clients miss the round."""
        batch.failures += 1
        if batch.failures <= retries:
            self.waiting.append(batch)
            return
        reason = f"the Ray worker process that ran the client was lost ({type(error).__name__})"
        for position in batch.positions:
            self.replies[position] = failure(self.messages[position], reason)


class RayGrid(SimulatedGrid):
    """A Grid that calls the project's ClientApp in Ray actors; it serves any Flower strategy.

    Args:
        run_config: What clients find in `context.run_config`.
        sizes: Samples of each client, by partition id.
        start: Starts an actor.
        num_workers: Number of actors.
        retries: Times that a batch is called again when its worker died.
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
        start_timeout: float,
    ) -> None:
        """Start the workers and wait for them."""
        super().__init__(len(sizes))
        self._sizes = dict(enumerate(sizes, start=1))  # by node id
        self._retries, self._timeout = retries, start_timeout
        self._new = lambda: Worker(start(run_config, len(sizes)))
        self._states: dict[int, Ref] = {}
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
        self._workers, self._starting, self._states = [], [], {}

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
        weights = [OVERHEAD + self._sizes.get(message.metadata.dst_node_id, 0) for message in messages]
        round = Round(messages, weights, BATCHES * self._num_workers)
        while round.waiting or any(worker.running for worker in self._workers):
            for number in range(AHEAD):
                for worker in self._workers:
                    if round.waiting and len(worker.running) <= number:
                        round.give(worker, self._states)
            for worker in self._wait():
                self._collect(worker, round)
        return [reply for reply in round.replies if reply is not None]

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
                found = ray.get(running.replies)
            except exceptions.RayError as error:
                log.debug("a batch of %d clients was lost", len(running.batch.positions), exc_info=error)
                round.lose(running.batch, error, self._retries)
                if isinstance(error, exceptions.RayActorError):
                    self._replace(worker, round)
                continue
            if isinstance(found, UserError):
                raise found
            for position, (reply, is_new), state in zip(running.batch.positions, found, running.states, strict=True):
                round.replies[position] = reply
                if is_new:
                    self._states[round.node(position)] = state

    def _replace(self, worker: Worker, round: Round) -> None:
        """Start another worker instead of one that died; what it had not begun goes to the others."""
        round.waiting.extendleft(running.batch for running in reversed(worker.running))
        worker.running.clear()
        self._workers.remove(worker)
        ray.kill(worker.actor)
        self._starting.append(self._new())


def pack(messages: list[Message]) -> tuple[list[Call], list[ArrayRecord]]:
    """Make messages fit for travel: arrays that several clients are sent are taken out, each once."""
    uses = Counter(id(record) for message in messages for record in message.content.array_records.values())
    numbers: dict[int, int] = {}
    common: list[ArrayRecord] = []
    calls = []
    for message in messages:
        own, shared = RecordDict(), dict[str, int]()
        for name, record in message.content.items():
            if uses[id(record)] > 1 and isinstance(record, ArrayRecord):
                if id(record) not in numbers:
                    numbers[id(record)] = len(common)
                    common.append(record)
                shared[name] = numbers[id(record)]
            else:
                own[name] = record
        calls.append(Call(message.metadata, own, shared))
    return calls, common


def balance(weights: Sequence[int], num_batches: int) -> list[list[int]]:
    """Deal positions to at most `num_batches` batches of nearly equal weight: the heaviest first, to the lightest.

    Graham, "Bounds on multiprocessing timing anomalies", 1969: the heaviest batch weighs at most 4/3 of the optimum.
    """
    heap: list[tuple[int, int]] = [(0, number) for number in range(min(num_batches, len(weights)))]
    batches: list[list[int]] = [[] for _ in heap]
    for position in sorted(range(len(weights)), key=lambda position: -weights[position]):
        weight, number = heap[0]
        batches[number].append(position)
        heapq.heapreplace(heap, (weight + weights[position], number))
    return [sorted(batch) for batch in batches]
