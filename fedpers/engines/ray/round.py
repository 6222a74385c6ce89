"""A round on Ray: messages made fit for travel, clients dealt to batches, batches on their way to replies."""

import heapq
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from flwr.app import ArrayRecord, Message, RecordDict

from fedpers.engines.grid import Memories, late
from fedpers.engines.ray.worker import Call
from fedpers.wire.records import failure, select

Ref = Any
"""A `ray.ObjectRef`."""


@dataclass
class Batch:
    """Clients that are called together.

    Args:
        positions: Their messages' positions in the round.
        is_suspect: Whether a worker may have died of it; it is then called alone, on a worker that has nothing else.
        failures: How often a worker died of it when it was called so.
    """

    positions: list[int]
    is_suspect: bool = False
    failures: int = 0


@dataclass
class Running:
    """A batch in the hands of a worker.

    Args:
        batch: The batch.
        replies: Reference to the replies.
        states: References to the clients' new memories, if they are returned apart.
        since: When the worker was given it, in seconds of a monotonic clock.
    """

    batch: Batch
    replies: Ref
    states: list[Ref]
    since: float = field(default_factory=time.monotonic)


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
        self.has_new_memories = False

    def may_give(self, worker: Worker, ahead: int) -> bool:
        """Tell whether a worker can be given the next batch: it has at most so many, and no suspect is among them."""
        if not self.waiting or len(worker.running) > ahead:
            return False
        return not worker.running or not (self.waiting[0].is_suspect or worker.running[-1].batch.is_suspect)

    def node(self, position: int) -> int:
        """Return the node id that a message is for."""
        return self.messages[position].metadata.dst_node_id

    def give(self, worker: Worker, known: Memories[Ref], *, apart: bool) -> None:
        """Give the next batch to a worker, with the clients' memories; new ones come apart or in the answers."""
        batch = self.waiting.popleft()
        memories = [known[self.node(position)] for position in batch.positions]
        run = worker.actor.run.options(num_returns=1 + len(memories)) if apart else worker.actor.run
        found = run.remote([self._calls[position] for position in batch.positions], self._common, apart, *memories)
        first, *rest = found if apart else [found]
        worker.running.append(Running(batch, first, rest))

    def lose(self, running: Running, error: Exception, retries: int, client_timeout: float | None) -> None:
        """Let clients whose worker was lost be tried again, or miss the round.

        Nobody knows which client it died of: each is called by itself then, and only one of which a worker dies again
        has failed. Those that had finished give the same bits once more. A worker ends itself when a client hangs.
        """
        batch = running.batch
        if not batch.is_suspect:
            self.waiting.extend(Batch([position], is_suspect=True) for position in batch.positions)
            return
        batch.failures += 1
        hangs = client_timeout is not None and time.monotonic() - running.since >= client_timeout
        if batch.failures <= retries and not hangs:
            self.waiting.append(batch)
            return
        reason = f"the Ray worker process that ran the client was lost ({type(error).__name__})"
        if hangs:
            reason = late(client_timeout)
        for position in batch.positions:
            self.replies[position] = failure(self.messages[position], reason)


def pack(messages: list[Message]) -> tuple[list[Call], list[ArrayRecord]]:
    """Make messages fit for travel: arrays that several clients are sent are taken out, each once."""
    uses = Counter(id(record) for message in messages for record in select(message.content, ArrayRecord).values())
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
