"""Tensors to Flower records and back, every wire key, and the bytes of each payload kind.

A message to a client holds an ArrayRecord `arrays`, the same for all clients, perhaps an ArrayRecord `own` for it
alone, and a ConfigRecord `config`. A reply holds `arrays` and a MetricRecord `metrics`: just what Flower's own
strategies send and expect.
"""

from typing import TypeVar, cast

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from torch import Tensor

from fedpers.algorithm import State, kind_of
from fedpers.device import CPU, to_device, to_host
from fedpers.wire.packing import pack, record_of, unpack, view_tensors

Record = TypeVar("Record", ArrayRecord, MetricRecord, ConfigRecord)

Figure = int | float | list[int] | list[float]
"""What a MetricRecord may hold."""

ARRAYS = "arrays"
OWN = "own"
CONFIG = "config"
METRICS = "metrics"
STATE = "state"

ROUND = "server-round"
NUM_EXAMPLES = "num-examples"
SECONDS = "seconds"
PARTITION_ID = "partition-id"

DEPLOYED = "deployed"
"""The action of a query for the model that is deployed on a client."""

STAGES = "stages"
"""The key of a reply's configuration that holds what the model is made of, as JSON."""

RunConfig = dict[str, str | int | float | bool]
"""What clients find in `context.run_config`."""

Packed = dict[int, tuple[Tensor, Array]]
"""Tensors as Flower's arrays, by identity; they are held, so that no other takes it."""

RUN_CONFIG = "config"
"""The run-config key that holds the whole configuration as JSON."""

PREPARED = "prepared"
"""The run-config key, if there, of the folder that holds the prepared data; a machine without it prepares its own."""


def select(content: RecordDict, kind: type[Record]) -> dict[str, Record]:
    """Return a content's records of one kind by name.

    Flower's properties (`array_records` and its like) make a checked dictionary that writes through, at ten times the
    cost: with a hundred small clients a round that is a good part of what the server does.
    """
    return {name: record for name, record in content.items() if isinstance(record, kind)}


def to_record(state: State, packed: Packed | None = None) -> ArrayRecord:
    """Pack tensors for the wire, wherever they are.

    Args:
        state: The tensors.
        packed: What was packed before, added to here: a tensor that many are sent is packed once.
    """
    packed = {} if packed is None else packed
    new = {id(tensor): tensor for tensor in state.values() if id(tensor) not in packed}
    for key, tensor in to_host(new).items():
        packed[key] = new[key], pack(tensor)
    return record_of({key: packed[id(tensor)][1] for key, tensor in state.items()})


def from_record(record: ArrayRecord, device: torch.device = CPU) -> State:
    """Unpack tensors from the wire, to a device."""
    return {key: to_device(unpack(array), device) for key, array in record.items()}


def view_arrays(content: RecordDict) -> State:
    """Return what a client sent, on the CPU; the tensors share the message's memory and must not be written to."""
    return view_tensors(select(content, ArrayRecord)[ARRAYS])


def view_state(memory: RecordDict) -> State:
    """Return what a client remembers, on the CPU; the tensors share its memory and must not be written to."""
    return view_tensors(select(memory, ArrayRecord)[STATE])


def round_of(content: RecordDict) -> int:
    """Return the round that a message belongs to, 0 when it names none."""
    config = select(content, ConfigRecord).get(CONFIG, ConfigRecord())
    return cast(int, config.get(ROUND, 0))


def num_examples(content: RecordDict) -> float:
    """Return the training samples behind a reply."""
    return cast(float, select(content, MetricRecord)[METRICS][NUM_EXAMPLES])


def bytes_by_kind(content: RecordDict) -> dict[str, int]:
    """Count a message's serialized bytes by payload kind."""
    counts: dict[str, int] = {}
    for arrays in select(content, ArrayRecord).values():
        for key, array in arrays.items():
            kind = kind_of(key)
            counts[kind] = counts.get(kind, 0) + len(array.data)
    figures = sum(record.count_bytes() for record in select(content, MetricRecord).values())
    control = sum(record.count_bytes() for record in select(content, ConfigRecord).values())
    for kind, size in (("metrics", figures), ("control", control)):
        if size:
            counts[kind] = counts.get(kind, 0) + size
    return counts


def partition_of(metrics: MetricRecord) -> int:
    """Return the client number that a roll-call reply names."""
    return cast(int, metrics[PARTITION_ID])


def failure(message: Message, reason: str) -> Message:
    """Return the reply of a client that failed."""
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
