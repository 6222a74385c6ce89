"""Simulated faults: each as often as it is asked for, drawn from (seed, round, client) and nothing else."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpers.config.build import build
from fedpers.config.compose import compose_config
from fedpers.errors import UserError
from fedpers.faults import FINE, Faults, SimulatedFaults

SEED = 5


def faults(**changes: object) -> SimulatedFaults:
    """Build faults as the command line does."""
    overrides = [f"faults.{key}={value}" for key, value in changes.items()]
    made: SimulatedFaults = build(compose_config(["faults=simulated", *overrides]).faults, "faults", returns=Faults)
    return made


def away(made: SimulatedFaults, rounds: int, clients: int) -> NDArray[np.bool_]:
    """Return who is away: (rounds, clients)."""
    return np.array(
        [[made.is_away(SEED, round, client) for client in range(clients)] for round in range(1, rounds + 1)]
    )


def test_without_a_setting_nothing_befalls_anybody() -> None:
    made = faults()
    for client, round in itertools.product(range(4), (1, 2, 50)):
        assert made.fate(SEED, round, client) == FINE == Faults().fate(SEED, round, client)
    assert faults().patience() == Faults().patience() == math.inf


@pytest.mark.parametrize("pattern", ["independent", "diurnal", "markov"])
@pytest.mark.parametrize("dropout", [0.0, 0.2, 0.5, 0.8])
def test_so_many_are_away_in_the_mean(pattern: str, dropout: float) -> None:
    found = away(faults(dropout=dropout, pattern=pattern), 96, 40)
    assert found.mean() == pytest.approx(dropout, abs=0.06 if pattern == "markov" else 0.03)


@pytest.mark.parametrize("pattern", ["independent", "diurnal"])
def test_whoever_is_away_is_away_at_a_higher_dropout_too(pattern: str) -> None:
    few, many = (away(faults(dropout=dropout, pattern=pattern), 30, 20) for dropout in (0.2, 0.4))
    assert few.any()
    assert (few <= many).all()


def test_a_night_comes_once_a_day_and_at_another_hour_for_each_client() -> None:
    found = away(faults(dropout=0.5, pattern="diurnal", period=20), 2000, 3).reshape(100, 20, 3).mean(0)
    for client in range(3):
        hours = found[:, client]
        assert hours.max() > 0.9
        assert hours.min() < 0.1
        assert abs(int(hours.argmax()) - int(hours.argmin())) in range(7, 14)
    assert len({int(found[:, client].argmax()) for client in range(3)}) > 1


def test_an_absence_lasts_as_long_as_it_should() -> None:
    found = away(faults(dropout=0.3, pattern="markov", absence=4), 600, 20)
    lengths = [
        len(list(run)) for client in range(20) for is_away, run in itertools.groupby(found[:, client]) if is_away
    ]
    assert np.mean(lengths) == pytest.approx(4, rel=0.1)


def test_clients_keep_their_class_of_speed() -> None:
    made = faults(speeds="[1,0.5,0.25]")
    times = [{made.time(SEED, round, client) for round in range(1, 6)} for client in range(60)]
    assert all(len(each) == 1 for each in times)
    counts = [sum(each == {time} for each in times) for time in (1.0, 2.0, 4.0)]
    assert sum(counts) == 60
    assert min(counts) >= 10


def test_jitter_is_log_normal() -> None:
    made = faults(jitter=0.5)
    logs = [math.log(made.time(SEED, round, 0)) for round in range(1, 400)]
    assert np.mean(logs) == pytest.approx(0, abs=0.08)
    assert np.std(logs) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(("late", "trouble", "work", "time"), [("dropped", "late", 1, 4), ("partial", None, 0.5, 2)])
def test_whoever_needs_longer_than_the_deadline(late: str, trouble: str | None, work: float, time: float) -> None:
    fate = faults(speeds="[0.25]", deadline=2, late=late).fate(SEED, 1, 0)
    assert (fate.trouble, fate.work, fate.time) == (trouble, work, time)
    in_time = faults(speeds="[0.5]", deadline=2, late=late).fate(SEED, 1, 0)
    assert (in_time.trouble, in_time.work, in_time.time) == (None, 1, 2)


@pytest.mark.parametrize(("key", "trouble"), [("crash", "crashed"), ("loss", "lost"), ("corruption", "corrupted")])
def test_trainings_and_replies_fail_as_often_as_they_should(key: str, trouble: str) -> None:
    made = faults(**{key: 0.3})
    found = [made.fate(SEED, round, client).trouble for round in range(1, 31) for client in range(20)]
    assert found.count(trouble) / len(found) == pytest.approx(0.3, abs=0.05)
    assert set(found) == {trouble, None}


def test_of_several_troubles_the_first_on_the_way_counts() -> None:
    order = [("dropout", "away"), ("crash", "crashed"), ("loss", "lost"), ("corruption", "corrupted")]
    for number, (_, first) in enumerate(order):
        assert faults(**{key: 1 for key, _ in order[number:]}).fate(SEED, 1, 0).trouble == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 1.1}, "faults.dropout=1.1 is not possible. Accepted: a share in [0, 1]"),
        ({"corruption": -0.1}, "faults.corruption=-0.1 is not possible. Accepted: a share in [0, 1]"),
        ({"pattern": "weekly"}, "faults.pattern='weekly' has the wrong type. Accepted: independent, diurnal, markov"),
        ({"period": 1}, "faults.period=1 is not possible. Accepted: a whole number of at least 2"),
        ({"absence": 0.5}, "faults.absence=0.5 is not possible. Accepted: at least 1"),
        ({"pattern": "markov", "dropout": 0.9}, "faults.absence=5.0 is not possible. Accepted: at least 9 with"),
        ({"speeds": "[]"}, "faults.speeds=() is not possible. Accepted: numbers above 0, at least one"),
        ({"speeds": "[1,0]"}, "faults.speeds=(1.0, 0.0) is not possible"),
        ({"jitter": -1}, "faults.jitter=-1.0 is not possible. Accepted: at least 0"),
        ({"deadline": 0}, "faults.deadline=0.0 is not possible. Accepted: above 0, or null"),
        ({"late": "early"}, "faults.late='early' has the wrong type. Accepted: dropped, partial"),
    ],
)
def test_impossible_values_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as found:
        faults(**changes)
    assert str(found.value).startswith(message)
