"""The Ray Grid: the same bits as in one process, lost workers, memory by reference, clear errors."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from federations import metric_files, serve
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from hypothesis import given
from hypothesis import strategies as st
from quickly import mostly_slow

from fedpers import assembly
from fedpers.engines.ray.engine import RayEngine
from fedpers.errors import FederationError, UserError
from fedpers.results import Run
from fedpers.wire import records
from fedpers.wire.ledger import Ledger

ON_RAY = ("engine=ray", "engine.num_workers=2", "engine.resources.num_cpus=0.5")


@pytest.fixture(scope="module", autouse=True)
def _stop_ray() -> Iterator[None]:
    yield
    import ray

    ray.shutdown()


def on_ray(
    config, tmp_path: Path, *overrides: str, workers: int = 2, wrap: Callable[[Grid], Grid] = lambda g: g
) -> Run:  # type: ignore[no-untyped-def]
    composed = config(*ON_RAY, f"engine.num_workers={workers}", f"out={tmp_path / f'ray-{workers}'}", *overrides)
    return serve(composed, wrap)


@pytest.mark.parametrize("workers", mostly_slow([1, 2, 4], [2]))
@pytest.mark.parametrize("strategy", mostly_slow(["fedavg", "fedper", "fedd2s"], ["fedd2s"]))
def test_same_bits_as_in_one_process(strategy, workers, config, federate, tmp_path) -> None:  # type: ignore[no-untyped-def]
    choice = f"strategy={strategy}"
    expected = metric_files(federate(choice))
    assert len(expected) > 1
    assert metric_files(on_ray(config, tmp_path, choice, workers=workers)) == expected


@pytest.mark.slow
def test_a_client_that_raises_costs_its_round_on_ray_too(config, federate, tmp_path) -> None:  # type: ignore[no-untyped-def]
    failing = (
        "plugins=[toys]",
        "strategy._target_=toys.Failing",
        "+strategy.client=2",
        "+strategy.round=2",
        "strategy=fedavg",
    )
    expected = metric_files(federate(*failing))
    for workers in (1, 2, 4):
        found = on_ray(config, tmp_path, *failing, workers=workers)
        assert metric_files(found) == expected
        errors = found.traffic[found.traffic.kind == "error"]
        assert [(e.round, e.client) for e in errors.itertuples()] == [(2, 2)]
    assert "RuntimeError: the battery is empty" in errors.error.iloc[0]


class Killing(Ledger):
    """Kills a worker process once, when round 2 is being sent."""

    def __init__(self, grid: Grid) -> None:
        self._grid, self._done = grid, False

    def send_and_receive(self, messages, *, timeout=None):  # type: ignore[no-untyped-def]
        sent = list(messages)
        if sent and not self._done and records.round_of(sent[0].content) == 2:
            self._done = True
            os.kill(self._grid.places[0][1], signal.SIGKILL)  # type: ignore[attr-defined]
        return self._grid.send_and_receive(sent, timeout=timeout)


@pytest.mark.slow
@pytest.mark.parametrize("retries", [0, 1])
def test_a_client_of_which_a_worker_dies_is_the_only_one_lost(retries: int, config, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """It kills its worker in the middle of a batch; those before and behind it in the batch train all the same."""
    deadly = ("plugins=[toys]", "strategy=fedavg", "strategy._target_=toys.Deadly", "+strategy.client=2")
    clients = ("partition.num_clients=8", f"engine.retries={retries}", "checkpoint_every=0")
    run = on_ray(config, tmp_path, *deadly, f"+strategy.folder={tmp_path}", *clients)
    errors = run.traffic[run.traffic.kind == "error"]
    assert [(row.round, row.client) for row in errors.itertuples()] == [(2, 2)]
    assert "worker process that ran the client was lost" in errors.error.iloc[0]
    trained = run.traffic[(run.traffic.phase == "train") & (run.traffic.kind == "metrics")]
    assert sorted(trained[trained["round"] == 2].client) == [0, 1, 3, 4, 5, 6, 7]
    assert len(list(tmp_path.glob("died-*"))) == 2 + retries  # in its batch, then by itself


@pytest.mark.slow
def test_a_client_that_hangs_costs_what_one_that_raises_does(config, federate, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """It hangs in the middle of a batch; it is not called a third time, whatever `retries` says."""

    def toy(name: str) -> tuple[str, ...]:
        strategy = ("strategy=fedavg", f"strategy._target_=toys.{name}", "+strategy.client=2", "+strategy.round=2")
        return ("plugins=[toys]", "partition.num_clients=8", *strategy)

    start = time.monotonic()
    found = on_ray(config, tmp_path, *toy("Hanging"), "engine.client_timeout=5", "engine.retries=9")
    assert metric_files(found) == metric_files(federate(*toy("Failing")))
    errors = found.traffic[found.traffic.kind == "error"]
    assert [(row.round, row.client) for row in errors.itertuples()] == [(2, 2)]
    assert errors.error.iloc[0] == "no answer after 5 seconds (engine.client_timeout)"
    assert time.monotonic() - start < 60


@pytest.mark.slow
def test_a_dead_worker_costs_its_clients_one_round(config, tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = on_ray(config, tmp_path, "strategy=fedper", wrap=Killing)
    errors = run.traffic[run.traffic.kind == "error"]
    assert set(errors["round"]) <= {2}
    assert len(errors) < 2  # clients that were to be called together are called again, each by itself
    assert all("worker process that ran the client was lost" in reason for reason in errors.error)
    assert sorted(run.curve("personal", "test").index) == [1, 2, 3]
    trained = run.traffic[(run.traffic.phase == "train") & (run.traffic.kind == "metrics")]
    assert sorted(trained[trained["round"] == 3].client) == [0, 1, 2, 3]


@pytest.mark.slow
def test_retries_make_a_dead_worker_cost_nothing(config, federate, tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = on_ray(config, tmp_path, "strategy=fedper", "engine.retries=2", wrap=Killing)
    assert metric_files(run) == metric_files(federate("strategy=fedper"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("engine.num_workers=0", "engine.num_workers=0 is not possible"),
        ("engine.retries=-1", "engine.retries=-1 is not possible"),
        ("engine.start_timeout=0", "engine.start_timeout=0"),
        ("engine.client_timeout=0", "engine.client_timeout=0.0 is not possible"),
        ("engine.resources.num_cpus=-1", "engine.resources.num_cpus=-1"),
        ("engine.resources.num_cpus=0", "reserves nothing"),
        ("engine.resources.num_gpus=64", "needs more than there is"),
    ],
)
def test_what_is_impossible_is_said(override, message, config) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        serve(config(*ON_RAY, override))


def test_a_cluster_that_is_not_there() -> None:
    import ray

    ray.shutdown()
    engine = RayEngine(1, {"num_cpus": 1.0}, "127.0.0.1:1", 0, 60.0)
    with pytest.raises(UserError, match=r"engine.address=127.0.0.1:1: no Ray cluster was found"):
        engine._connect(debug=False)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            None,
            r"engine=ray: Ray could not be started \(nothing after 0.5 seconds, see engine.start_timeout\). Accepted",
        ),
        (
            "auto",
            r"engine.address=auto: no Ray cluster was found there \(nothing after 0.5 seconds, see engine.start_ti",
        ),
    ],
)
def test_a_ray_that_hangs_while_it_starts(address: str | None, message: str, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import ray

    ray.shutdown()
    monkeypatch.setattr(ray, "init", lambda **_: time.sleep(60))
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(UserError, match=message):
        RayEngine(1, {"num_cpus": 1.0}, address, 0, 0.5)._connect(debug=False)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.slow
def test_two_nodes_of_a_cluster(config, federate, tmp_path) -> None:  # type: ignore[no-untyped-def]
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    places: list[tuple[str, int]] = []

    def look(grid: Grid) -> Grid:
        places.extend(grid.places)  # type: ignore[attr-defined]
        return grid

    try:
        there = ("engine.resources.num_cpus=1", f"engine.address={cluster.address}")
        run = on_ray(config, tmp_path, "strategy=fedper", *there, wrap=look)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len({node for node, _ in places}) == 2
    assert metric_files(run) == metric_files(federate("strategy=fedper"))


def test_workers_that_cannot_start_end_the_run(config) -> None:  # type: ignore[no-untyped-def]
    import ray

    RayEngine(2, {"num_cpus": 0.5}, None, 0, 60.0)._connect(debug=False)  # only the workers are late
    assert ray.is_initialized()
    composed = config(*ON_RAY, "engine.start_timeout=0.001")
    with pytest.raises(FederationError, match=r"no Ray worker could be started.*engine.start_timeout"):
        serve(dataclasses.replace(composed, out=f"{composed.out}-late"))


def test_what_all_clients_are_sent_travels_once(config) -> None:  # type: ignore[no-untyped-def]
    from fedpers.engines.ray.round import pack

    settings, shards = assembly.open_run(config().to_json())
    arrays = ArrayRecord(assembly.build_model(settings, shards).state_dict())
    own = [ArrayRecord(arrays.to_torch_state_dict()) for _ in range(3)]
    shared = ConfigRecord({"server-round": 1})
    messages = [
        Message(RecordDict({"arrays": arrays, "own": o, "config": shared}), dst_node_id=n, message_type="train")
        for n, o in enumerate(own, start=1)
    ]
    calls, common = pack(messages)
    assert common == [arrays]
    for call, message in zip(calls, messages, strict=True):
        assert set(call.own) == {"own", "config"}
        again = call.message(common)
        assert again.metadata is message.metadata
        assert dict(again.content) == dict(message.content)


@given(st.lists(st.integers(1, 1000), max_size=40), st.integers(1, 9))
def test_batches_hold_every_client_once_and_weigh_alike(weights: list[int], num: int) -> None:
    from fedpers.engines.ray.round import balance

    batches = balance(weights, num)
    assert sorted(position for batch in batches for position in batch) == list(range(len(weights)))
    assert len(batches) == min(num, len(weights))
    assert all(batches)
    loads = [sum(weights[position] for position in batch) for batch in batches]
    if weights:
        assert max(loads) - min(loads) <= max(weights)
