"""The in-process Grid: Flower's own strategies run on it as they are; memory, failures, order of replies."""

import random
import threading

import pytest
import torch
from federations import metric_files, serve
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, Krum

from fedpers import assembly, client_app
from fedpers.endings import CLIENT_THREAD
from fedpers.engines.local import LocalGrid
from fedpers.errors import FederationError, UserError
from fedpers.results import Run
from fedpers.wire import records
from fedpers.wire.ledger import Ledger
from fedpers.wire.roll_call import roll_call


@pytest.fixture
def grid(config):  # type: ignore[no-untyped-def]
    """A Grid over the project's ClientApp with plain FedAvg clients, and the initial weights."""
    settings = config("strategy=fedavg", "lr=0.2", "local_epochs=3")
    _, shards = assembly.open_run(settings.to_json())
    grid = LocalGrid(client_app.app, 4, {records.RUN_CONFIG: settings.to_json()}, num_threads=2)
    yield grid, ArrayRecord(assembly.build_model(settings, shards).state_dict())
    grid.close()


@pytest.mark.parametrize(
    "strategy", [FedAvg(), FedAdam(eta=0.05), Krum(num_malicious_nodes=1)], ids=lambda s: type(s).__name__
)
def test_flowers_own_strategies_run_unmodified(strategy, grid) -> None:
    local, initial = grid
    random.seed(0)  # which Flower's sampling draws from
    result = strategy.start(local, ArrayRecord(initial.to_torch_state_dict()), num_rounds=3)
    losses = [result.train_metrics_clientapp[round]["loss"] for round in (1, 2, 3)]
    assert losses[2] < losses[0]
    assert 0 <= result.evaluate_metrics_clientapp[3]["personal/test/accuracy"] <= 1
    before, after = initial.to_torch_state_dict(), result.arrays.to_torch_state_dict()
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[key], after[key]) for key in before)


def counting(message: Message, context: Context) -> Message:
    """A ClientApp that counts its calls in its context and fails when it is told to."""
    count = int(context.state.metric_records.get("count", MetricRecord({"n": 0}))["n"]) + 1
    context.state["count"] = MetricRecord({"n": count})
    if int(message.content.config_records["config"]["fail"]) == context.node_config["partition-id"]:
        raise ValueError("no")
    return Message(RecordDict({"metrics": MetricRecord({"n": count})}), reply_to=message)


def call(grid: LocalGrid, fail: int, nodes: list[int]) -> list[Message]:
    content = RecordDict({"config": ConfigRecord({"fail": fail})})
    return list(grid.send_and_receive([Message(content, dst_node_id=n, message_type="train") for n in nodes]))


def test_memory_is_committed_only_after_success() -> None:
    grid = LocalGrid(counting, 3, {})
    assert [reply.content["metrics"]["n"] for reply in call(grid, -1, [1, 2, 3])] == [1, 1, 1]
    failed = call(grid, 1, [1, 2, 3])
    assert [reply.has_error() for reply in failed] == [False, True, False]
    assert failed[1].error.reason == "ValueError: no"
    assert [reply.content["metrics"]["n"] for reply in call(grid, -1, [1, 2, 3])] == [3, 2, 3]


def test_replies_come_in_the_order_of_the_messages() -> None:
    grid = LocalGrid(counting, 5, {}, num_threads=2)
    replies = call(grid, -1, [4, 2, 5, 1])
    assert [reply.metadata.src_node_id for reply in replies] == [4, 2, 5, 1]
    assert len({reply.metadata.reply_to_message_id for reply in replies}) == 4


def test_unknown_node_is_an_error_reply() -> None:
    assert "no node 9" in call(LocalGrid(counting, 2, {}), -1, [9])[0].error.reason


def test_push_then_pull() -> None:
    grid = LocalGrid(counting, 2, {})
    content = RecordDict({"config": ConfigRecord({"fail": -1})})
    messages = [grid.create_message(content, "train", node, "1") for node in (1, 2)]
    ids = list(grid.push_messages(messages))
    replies = list(grid.pull_messages(ids[1:]))
    assert [reply.metadata.reply_to_message_id for reply in replies] == ids[1:]


def test_roll_call_names_every_client(grid) -> None:
    expected = {0: 1, 1: 2, 2: 3, 3: 4}
    assert roll_call(grid[0], 4) == expected
    asked = Ledger(grid[0], expected)  # does not know who its clients are, as Flower's own Grids do not
    assert roll_call(asked, 4) == expected
    assert sum(entry.direction == "up" for entry in asked.take().entries) == 4


def test_roll_call_says_who_is_missing(grid) -> None:
    with pytest.raises(FederationError, match=r"2 of 6 clients did not answer.*client 4"):
        roll_call(grid[0], 6, timeout=0.3)


def test_a_run_in_which_every_client_fails_ends_with_the_reason(federate) -> None:
    toy = ["plugins=[toys]", "strategy._target_=toys.Failing", "+strategy.client=-1", "+strategy.round=2"]
    with pytest.raises(FederationError, match=r"all 4 clients failed in round 2.*the battery is empty"):
        federate("strategy=fedavg", *toy)


def test_a_failing_client_is_the_same_loss_on_any_number_of_threads(federate) -> None:
    toy = [
        "strategy=fedavg",
        "plugins=[toys]",
        "strategy._target_=toys.Failing",
        "+strategy.client=2",
        "+strategy.round=2",
    ]
    assert metric_files(federate(*toy, "engine.num_threads=1")) == metric_files(federate(*toy, "engine.num_threads=3"))


def test_number_of_threads_is_checked(federate) -> None:
    with pytest.raises(UserError, match=r"engine\.num_threads=0"):
        federate("engine.num_threads=0")


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_client_that_hangs_costs_what_one_that_raises_does(num_threads: int, federate) -> None:  # type: ignore[no-untyped-def]
    def run(toy: str, *more: str) -> Run:
        strategy = ("strategy=fedavg", f"strategy._target_=toys.{toy}", "+strategy.client=2", "+strategy.round=2")
        return federate("plugins=[toys]", *strategy, f"engine.num_threads={num_threads}", *more)

    found = run("Hanging", "engine.client_timeout=2")
    assert metric_files(found) == metric_files(run("Failing"))
    errors = found.traffic[found.traffic.kind == "error"]
    assert [(row.round, row.client) for row in errors.itertuples()] == [(2, 2)]
    assert errors.error.iloc[0] == "no answer after 2 seconds (engine.client_timeout)"


def test_what_comes_too_late_is_not_remembered() -> None:
    before = set(threading.enumerate())
    hanging, go_on = [1], threading.Event()

    def slow(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] in hanging:
            hanging.clear()
            go_on.wait(60)
        return counting(message, context)

    grid = LocalGrid(slow, 3, {}, num_threads=1, client_timeout=0.2)
    assert [reply.has_error() for reply in call(grid, -1, [1, 2, 3])] == [False, True, False]
    threads = set(threading.enumerate()) - before
    assert {each.name for each in threads} == {CLIENT_THREAD}
    assert len(threads) == 2  # one that is given up, one in its place
    go_on.set()
    for thread in threads:
        thread.join(1.0)
    assert sum(each.is_alive() for each in threads) == 1  # which waits for the next round
    assert [reply.content["metrics"]["n"] for reply in call(grid, -1, [1, 2, 3])] == [2, 1, 2]
    grid.close()
    assert not any(each.is_alive() for each in threads)


def test_an_error_ends_the_round_at_once() -> None:
    called = []

    def impossible(message: Message, context: Context) -> Message:
        called.append(context.node_id)
        raise UserError("no")

    grid = LocalGrid(impossible, 50, {}, num_threads=1)
    with pytest.raises(UserError, match=r"^no$"):
        call(grid, -1, list(range(1, 51)))
    grid.close()
    assert called == [1]


@pytest.mark.parametrize("seconds", ["0", "-1"])
def test_seconds_that_nobody_can_wait(seconds: str, config) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"engine.client_timeout=.* is not possible. Accepted: seconds above 0, or nu"):
        serve(config(f"engine.client_timeout={seconds}"))
