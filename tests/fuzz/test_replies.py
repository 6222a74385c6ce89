"""Damaged replies at the server: each is its client's failure, or the server half digests it."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from federations import record
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from tried import Outcomes, counted, damages, tries

from fedpers import assembly
from fedpers.errors import FederationError
from fedpers.results import Run
from fedpers.wire import records
from fedpers.wire.carrier import Carrier
from fedpers.wire.gate import Gate

ALGORITHMS = ("fedper", "fedd2s", "fedproto", "scaffold", "fedpac")
HOWS = ("bytes", "type", "shape", "value", "gone", "renamed", "more", "samples", "metrics gone", "arrays gone")


class Federation:
    """A federation's server half after a round, its gate, and what its clients sent in the next one."""

    def __init__(self, federate: Callable[..., Run], strategy: str) -> None:
        recorder, run = record(federate, f"strategy={strategy}", "rounds=2")
        config, shards = assembly.open_run(run.config.to_json())
        algorithm = assembly.build_algorithm(config)
        federation = assembly.build_federation(config, shards, algorithm)
        self.carrier = Carrier(algorithm.server(federation), {client: client + 1 for client in range(4)})
        half = len(recorder.replies) // 2
        self.carrier.aggregate_train(1, recorder.replies[:half])
        self.gate = Gate(algorithm, federation)
        self.replies = recorder.replies[half:]
        self.sent = {message.metadata.dst_node_id - 1: message.content for message in recorder.sent[half:]}


@pytest.fixture(scope="module")
def counts() -> Iterator[Outcomes]:
    """What came of this module's damages."""
    yield from counted("replies")


def spoil(content: RecordDict, how: str, name: str, number: int, damage: tuple[str, float, int]) -> None:
    """Damage a reply in place."""
    arrays, metrics = content[records.ARRAYS], content[records.METRICS]
    assert isinstance(arrays, ArrayRecord)
    assert isinstance(metrics, MetricRecord)
    array = arrays[name]
    values = np.array(array.numpy())
    if how == "bytes":
        data, (_, where, noise) = bytearray(array.data), damage
        place = int(where * len(data))
        data[place : place + 4] = noise.to_bytes(4, "little")
        arrays[name] = Array(array.dtype, array.shape, array.stype, bytes(data[: len(data) - number % 3]))
    elif how == "type":
        arrays[name] = Array(values.astype(["float64", "int8", "int64", "float16", "bool"][number % 5]))
    elif how == "shape":
        arrays[name] = Array(
            [values[None], values.reshape(-1), values[:0] if values.ndim else values[None]][number % 3]
        )
    elif how == "value" and values.size:
        flat = values.reshape(-1)
        strange = [np.nan, np.inf, -1, 1e30] if values.dtype.kind == "f" else [-1, 10**6]
        flat[number % len(flat)] = strange[number % len(strange)]
        arrays[name] = Array(values)
    elif how == "gone":
        del arrays[name]
    elif how == "renamed":
        del arrays[name]
        arrays[f"other/{name}"] = array
    elif how == "more":
        arrays["fc1.1.weight/no"] = array
    elif how == "samples":
        strange_samples: list[Any] = [-1, 0, float("nan"), float("inf"), [3, 4], 2.5]
        metrics[records.NUM_EXAMPLES] = strange_samples[number % 6]
    elif how == "metrics gone":
        del content[records.METRICS]
    elif how == "arrays gone":
        del content[records.ARRAYS]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ALGORITHMS)
def test_a_damaged_reply_is_refused_or_digested(strategy: str, federate: Callable[..., Run], counts: Outcomes) -> None:
    made = Federation(federate, strategy)

    @tries(25)
    @given(
        client=st.integers(0, 3),
        how=st.sampled_from(HOWS),
        place=st.integers(0, 99),
        number=st.integers(0, 99),
        damage=damages(),
    )
    def check(client: int, how: str, place: int, number: int, damage: tuple[str, float, int]) -> None:
        replies = copy.deepcopy(made.replies)
        content = replies[client].content
        names = list(content[records.ARRAYS])
        spoil(content, how, names[place % len(names)], number, damage)
        contents = {reply.metadata.src_node_id - 1: reply.content for reply in replies}
        try:
            faults = made.gate.faults(contents, made.sent.__getitem__)
        except FederationError:
            counts["nobody can tell which are broken"] += 1
            return
        assert set(faults) <= {client}, faults
        counts["refused" if faults else "digested"] += 1
        sound = [reply for reply in replies if reply.metadata.src_node_id - 1 not in faults]
        before = made.carrier.state
        arrays, _ = made.carrier.aggregate_train(2, sound)
        made.carrier.state = before
        assert arrays is not None
        for name, tensor in records.from_record(arrays).items():
            assert tensor.isfinite().all() if tensor.is_floating_point() else True, (how, name, number)

    check()
