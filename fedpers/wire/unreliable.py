"""A Grid around a Grid in which clients and their replies meet the faults that are simulated on purpose."""

import math
from collections.abc import Iterable

import numpy as np
from flwr.app import Array, ArrayRecord, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedpers import seeds
from fedpers.faults.base import CORRUPTED, SIMULATED, TROUBLES, Fate, Faults
from fedpers.wire import records
from fedpers.wire.passing import PassingGrid


class Unreliable(PassingGrid):
    """Keeps messages from clients that are away, and replies from the server, or spoils them; in training alone.

    Args:
        grid: The engine's Grid.
        nodes: Node id by client number.
        faults: Decides what befalls whom.
        seed: The run's seed.
    """

    def __init__(self, grid: Grid, nodes: dict[int, int], faults: Faults, seed: int) -> None:
        """Remember who decides."""
        super().__init__(grid, nodes)
        self._faults, self._seed = faults, seed
        self._corrupted: set[int] = set()
        self.time = 0.0
        """How long the server has waited in the last round, in the unit of `Fate.time`."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send to those who can be reached, and return what arrives, in the messages' order where all comes from one.

        Clients whose reply is late or lost have learnt nevertheless, and remember it.
        """
        sent = list(messages)
        if not sent or sent[0].metadata.message_type.partition(".")[0] != MessageType.TRAIN:
            return super().send_and_receive(sent, timeout=timeout)
        number = records.round_of(sent[0].content)
        fates = {message.metadata.dst_node_id: self._fate(message, number) for message in sent}
        idle = ("away", "crashed")
        times = [fate.time for fate in fates.values() if fate.trouble not in idle]
        self.time = min(max(times, default=0.0), self._faults.patience())
        called = [message for message in sent if fates[message.metadata.dst_node_id].trouble not in idle]
        replies = super().send_and_receive(called, timeout=timeout) if called else []
        found = {reply.metadata.src_node_id: reply for reply in replies}
        self._corrupted = {node for node, fate in fates.items() if fate.trouble == "corrupted" and node in found}
        asked = {message.metadata.dst_node_id: message for message in sent}
        return [
            self._arriving(asked[node], fate, found.get(node), number)
            for node, fate in fates.items()
            if fate.trouble in idle or node in found
        ]

    def take_back(self, nodes: Iterable[int]) -> None:
        """Let clients forget what they have learnt, but for those whose replies were spoilt on their way."""
        super().take_back([node for node in nodes if node not in self._corrupted])

    def _fate(self, message: Message, number: int) -> Fate:
        return self._faults.fate(self._seed, number, self._clients[message.metadata.dst_node_id])

    def _arriving(self, message: Message, fate: Fate, reply: Message | None, number: int) -> Message:
        """Return what the server sees of a client."""
        if fate.trouble is None or (reply is not None and reply.has_error()):
            assert reply is not None  # or the client would not be among those who arrive
            return reply
        if fate.trouble == "corrupted" and reply is not None:
            client = self._clients[message.metadata.dst_node_id]
            rng = seeds.numpy_generator(self._seed, "flipped bits", round=number, client=client)
            return Message(corrupted(reply.content, self._faults.flipped(), rng), reply_to=message)
        code = ErrorCode.NODE_UNAVAILABLE if fate.trouble == "away" else ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        text = f"{SIMULATED}{TROUBLES[fate.trouble]}"
        if fate.trouble == "late":
            text += f": it takes {fate.time:.3g}, the server waits {self._faults.patience():.3g} (faults.deadline)"
        return Message(Error(code, text), reply_to=message)


def corrupted(content: RecordDict, flips: float, rng: np.random.Generator) -> RecordDict:
    """Return a reply with flipped bits in its tensors' numbers, and a figure that says so.

    Types, shapes and metrics arrive as they were sent: a damaged header would be noticed by anybody.

    Args:
        content: The reply.
        flips: Share of its bytes in which a bit is flipped; at least one is.
        rng: Source of which they are.
    """
    arrays = records.select(content, ArrayRecord)[records.ARRAYS]
    sizes = [array_bytes(array) for array in arrays.values()]
    total = sum(sizes) or 1  # what is empty cannot be hit
    number = min(total, max(1, round(flips * total)))
    hits = np.sort(rng.choice(total, size=number, replace=False))
    damaged, start = ArrayRecord(), 0
    for (name, array), size in zip(arrays.items(), sizes, strict=True):
        own = [int(hit) - start for hit in hits if start <= hit < start + size]
        data = bytearray(array.data)
        for place in own:
            data[len(data) - size + place] ^= 1 << int(rng.integers(8))
        damaged[name] = Array(array.dtype, array.shape, array.stype, bytes(data)) if own else array
        start += size
    metrics = records.select(content, MetricRecord).get(records.METRICS, MetricRecord())
    told = MetricRecord({**metrics, CORRUPTED: 1.0})
    return RecordDict({**content, records.ARRAYS: damaged, records.METRICS: told})


def array_bytes(array: Array) -> int:
    """Return how many bytes an array's numbers take, its header left out."""
    return math.prod(array.shape) * np.dtype(array.dtype).itemsize
