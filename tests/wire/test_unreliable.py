"""What simulated faults do to a federation: who learns, who is heard, what is written down, on any engine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from federations import TINY, chosen, metric_files, serve, tables
from flwr.app import MetricRecord, RecordDict
from quickly import STRATEGIES, mostly_slow
from torch import tensor

from fedpers.config.compose import group_choices
from fedpers.errors import FederationError
from fedpers.faults.base import CORRUPTED, SIMULATED
from fedpers.progress import comparison_table, remarks
from fedpers.results import Run
from fedpers.wire import records
from fedpers.wire.unreliable import array_bytes, corrupted

Federate = Callable[..., Run]

MANY = (
    "faults=simulated",
    "faults.dropout=0.3",
    "faults.crash=0.1",
    "faults.loss=0.2",
    "faults.speeds=[1,0.5]",
    "faults.deadline=1.2",
    "faults.late=partial",
)


def troubles(run: Run) -> list[tuple[int, int, str]]:
    """Return who failed in which round, and why."""
    errors = run.traffic[run.traffic.kind == "error"]
    return [(row.round, row.client, row.error) for row in errors.itertuples()]


def test_without_a_setting_no_bit_changes(federate: Federate) -> None:
    plain, empty = federate("strategy=fedper"), federate("strategy=fedper", "faults=simulated")
    assert metric_files(plain) == metric_files(empty)
    assert "faults" not in plain.summary
    assert empty.summary["faults"] == {
        "client_rounds": 12,
        "heard": 1,
        **dict.fromkeys(("away", "crashed", "late", "lost", "corrupted", "corrupted_taken", "partial"), 0),
    }


@pytest.mark.parametrize("strategy", mostly_slow(sorted(group_choices("strategy")), STRATEGIES))
def test_every_strategy_bears_them_and_goes_on_to_the_same_bits(strategy: str, cli) -> None:  # type: ignore[no-untyped-def]
    small = [text for text in chosen(strategy) if "=" in text]
    run = [*TINY, *small, *MANY, "faults.corruption=0.2", "max_update_norm=1000", "checkpoint_every=1", "quiet=true"]
    code, _, err = cli(*run, "rounds=3", "out=whole")
    assert code == 0, err
    if strategy in STRATEGIES:
        assert cli(*run, "rounds=3", "out=part", "engine.num_threads=2")[0] == 0
        assert tables("part") == tables("whole")
    found = Run("whole").summary["faults"]
    assert 0 < found["heard"] < 1
    assert found["away"] > 0
    assert found["partial"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_on_ray(strategy: str, config, federate: Federate, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    here = federate(f"strategy={strategy}", *MANY)
    there = serve(
        config("engine=ray", "engine.num_workers=2", f"out={tmp_path / 'ray'}", f"strategy={strategy}", *MANY)
    )
    assert metric_files(there) == metric_files(here)
    assert troubles(there) == troubles(here)


@pytest.mark.slow
def test_the_same_in_flowers_simulation(config, federate: Federate, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    here = federate("strategy=fedper", *MANY)
    there = serve(config("engine=flower", f"out={tmp_path / 'flower'}", "strategy=fedper", *MANY))
    assert metric_files(there) == metric_files(here)
    assert troubles(there) == troubles(here)


def test_whoever_is_away_is_sent_nothing_and_learns_nothing(federate: Federate) -> None:
    run = federate("strategy=local", "faults=simulated", "faults.dropout=0.5")
    away = {(round, client) for round, client, _ in troubles(run)}
    assert 0 < len(away) < 12
    assert {reason for _, _, reason in troubles(run)} == {f"{SIMULATED}it is away"}
    trained = run.traffic[(run.traffic.phase == "train") & (run.traffic.kind != "error")]
    assert away.isdisjoint(zip(trained["round"], trained.client, strict=True))
    losses = run.scores[(run.scores.model == "personal") & (run.scores.split == "test")].pivot(
        index="client", columns="round", values="loss"
    )
    for client, row in losses.iterrows():
        for round in (2, 3):
            assert (row[round] == row[round - 1]) == ((round, client) in away)


@pytest.mark.parametrize("trouble", ["loss=1", "speeds=[0.5]"])
def test_whoever_is_not_heard_has_learnt_and_remembers(trouble: str, federate: Federate) -> None:
    """Without a server in between, it is as if nothing had happened."""
    alone = federate("strategy=local")
    unheard = federate("strategy=local", "faults=simulated", "faults.deadline=1", f"faults.{trouble}")
    reason = "its reply is lost" if trouble == "loss=1" else "it is too late: it takes 2, the server waits 1"
    assert len(troubles(unheard)) == 12
    assert all(text.startswith(SIMULATED + reason) for _, _, text in troubles(unheard))
    personal = [run.scores[run.scores.model == "personal"].loss.to_list() for run in (alone, unheard)]
    assert personal[0] == personal[1]
    assert unheard.summary["skipped_rounds"] == 3
    assert unheard.summary["num_failures"] == 0


def test_a_round_with_too_few_replies_leaves_the_server_as_it_was(federate: Federate) -> None:
    run = federate("strategy=fedavg", "faults=simulated", "faults.loss=0.5", "min_replies=3")
    errors = [round for round, _, _ in troubles(run)]
    skipped = {round for round in (1, 2, 3) if 4 - errors.count(round) < 3}
    noted = run.diagnostics[run.diagnostics.name == "skipped"]
    assert set(noted["round"]) == skipped
    assert 0 < len(skipped) < 3
    accuracy = run.scores[(run.scores.model == "global") & (run.scores.split == "test")].groupby("round").loss.mean()
    initial = federate("strategy=fedavg", "faults=simulated", "faults.loss=1")
    first = initial.scores[(initial.scores.model == "global") & (initial.scores.split == "test")].loss.mean()
    before = first
    for round in (1, 2, 3):
        assert (accuracy[round] == pytest.approx(before, abs=1e-9)) == (round in skipped)
        before = accuracy[round]


def test_partial_work_is_fewer_mini_batches(federate: Federate) -> None:
    half = ("faults=simulated", "faults.speeds=[0.5]", "faults.deadline=1", "faults.late=partial")
    run = federate("strategy=fedavg", "local_epochs=2", *half)
    once = federate("strategy=fedavg", "local_epochs=1")
    losses = [each.scores[each.scores.model == "global"].loss.to_list() for each in (run, once)]
    assert losses[0] == losses[1]  # an epoch of two
    shares = run.diagnostics[run.diagnostics.name == "simulated/work"].value
    assert shares.to_list() == [0.5] * 12
    assert run.summary["faults"]["partial"] == 12


def test_time_that_the_server_waits(federate: Federate) -> None:
    run = federate("strategy=fedavg", "faults=simulated", "faults.speeds=[0.25,0.125]", "faults.deadline=6")
    waited = run.diagnostics[run.diagnostics.name == "simulated/time"]
    assert waited.value.to_list() == [6, 6, 6]
    assert set(waited.client) == {-1}


def test_a_corrupted_reply_is_noticed_or_taken(federate: Federate) -> None:
    run = federate(
        "strategy=fedavg", "faults=simulated", "faults.corruption=0.4", "faults.flips=0.02", "max_update_norm=100"
    )
    found = run.summary["faults"]
    taken = run.diagnostics[run.diagnostics.name == CORRUPTED]
    assert found["corrupted_taken"] == len(taken)
    assert found["corrupted"] == len(troubles(run)) > 0
    assert all(text.startswith(f"{SIMULATED}its reply is corrupted: its ") for _, _, text in troubles(run))
    assert run.summary["num_failures"] == 0
    (line,) = remarks(run.summary)
    assert f"{found['corrupted']} corrupted and refused" in line


def test_bits_are_flipped_in_numbers_alone() -> None:
    sent = RecordDict(
        {
            records.ARRAYS: records.to_record({"a": tensor([1.0] * 50), "b": tensor([3, 4]), "c": tensor([])}),
            records.METRICS: MetricRecord({records.NUM_EXAMPLES: 7}),
        }
    )
    arrived = corrupted(sent, 0.0, np.random.default_rng(0))
    before, after = (records.view_arrays(each) for each in (sent, arrived))
    bits = [
        np.unpackbits(each.numpy().view(np.uint8)) for state in (before, after) for each in (state["a"], state["b"])
    ]
    assert sum(int((old != new).sum()) for old, new in zip(bits[:2], bits[2:], strict=True)) == 1
    assert {name: (each.dtype, each.shape) for name, each in before.items()} == {
        name: (each.dtype, each.shape) for name, each in after.items()
    }
    assert dict(records.select(arrived, MetricRecord)[records.METRICS]) == {records.NUM_EXAMPLES: 7, CORRUPTED: 1.0}
    assert array_bytes(records.select(sent, type(sent[records.ARRAYS]))[records.ARRAYS]["a"]) == 200


FAILING = ("plugins=[toys]", "strategy=fedavg", "strategy._target_=toys.Failing", "+strategy.client=2")


def test_too_few_that_are_left_end_the_run(federate: Federate) -> None:
    with pytest.raises(FederationError, match=r"3 of 4 clients sent a sound update in round 2, fewer than min_repl"):
        federate(*FAILING, "+strategy.round=2", "min_replies=4")
    assert federate(*FAILING, "+strategy.round=2", "min_replies=3").summary["num_failures"] == 1


def test_more_replies_than_clients_are_refused(federate: Federate) -> None:
    with pytest.raises(
        Exception, match=r"min_replies=5 is not possible. Accepted: at most 4, the clients that are sam"
    ):
        federate("strategy=fedavg", "min_replies=5")


def test_what_is_seen_of_them(federate: Federate) -> None:
    run, plain = federate("strategy=fedavg", *MANY), federate("strategy=fedavg")
    (line,) = remarks(run.summary)
    assert line.startswith("Simulated faults in 12 trainings: ")
    assert f"{run.summary['faults']['away']} away" in line
    headers = [str(column.header) for column in comparison_table({"a": run.summary, "b": plain.summary}).columns]
    assert "heard" in headers
    assert "heard" not in [str(column.header) for column in comparison_table({"b": plain.summary}).columns]
    assert remarks(plain.summary) == []
