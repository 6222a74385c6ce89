"""Runs that end when validation accuracy rises no more: when, with which models, and after a resume."""

from collections.abc import Callable
from pathlib import Path

import pytest
from federations import TINY, tables

import fedpers
from fedpers.errors import UserError
from fedpers.learning import EarlyStop
from fedpers.results import Run

Federate = Callable[..., Run]


@pytest.mark.parametrize(
    ("accuracies", "after"),
    [
        ([0.1, 0.2, 0.3, 0.4], None),
        ([0.1, 0.2, 0.2, 0.2], 4),
        ([0.3, 0.1, 0.2], 3),
        ([0.1, 0.105, 0.109], 3),  # rises of less than 0.01 over the best, together
        ([0.1, 0.105, 0.12, 0.1, 0.1], 5),
        ([], None),
    ],
)
def test_it_ends_after_so_many_without_a_rise(accuracies: list[float], after: int | None) -> None:
    rule = EarlyStop(patience=2, min_delta=0.01)
    due = [number for number in range(len(accuracies) + 1) if rule.is_due(accuracies[:number])]
    assert due[:1] == ([] if after is None else [after])


SMALL = [text for text in TINY if not text.startswith("rounds")]
STOPS = ["early_stop=validation", "early_stop.patience=2", "early_stop.min_delta=0.9", "strategy=fedper", "quiet=true"]
"""No accuracy rises by 0.9 after the first evaluation: it ends with the third."""


def test_a_run_ends_and_says_so(cli) -> None:  # type: ignore[no-untyped-def]
    code, out, err = cli(*SMALL, *STOPS, "rounds=9", "out=early")
    assert code == 0, err
    assert "Ended after round 3 of 9: validation accuracy had stopped to rise" in out
    run = Run("early")
    assert run.summary["ended_early"] == {"round": 3, "of": 9}
    assert run.summary["last"]["test"]["personal"]["round"] == 3
    assert (Path("early/models") / "client-00000.safetensors").is_file()  # those of its last round
    assert cli(*SMALL, "strategy=fedper", "quiet=true", "rounds=3", "out=plain")[0] == 0
    assert tables("early") == tables("plain")
    assert "ended_early" not in Run("plain").summary


def test_it_ends_where_it_would_have_after_a_resume(cli) -> None:  # type: ignore[no-untyped-def]
    assert cli(*SMALL, *STOPS, "rounds=9", "out=whole")[0] == 0
    assert cli(*SMALL, *STOPS, "rounds=2", "out=part")[0] == 0
    assert cli("resume=part", "rounds=9")[0] == 0
    assert tables("part") == tables("whole")
    code, out, _ = cli("resume=part", "rounds=12")  # more rounds would not have come either
    assert code == 0
    assert "Ended after round 3 of 12" in out
    assert tables("part") == tables("whole")


def test_rounds_that_are_not_scored_do_not_count(federate: Federate) -> None:
    run = federate(*STOPS, "rounds=9", "eval_every=2")
    assert run.summary["ended_early"]["round"] == 6


def test_who_steps_through_it_sees_it_end(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPERS_CACHE", str(cache))
    assert [step.number for step in fedpers.Simulation(*SMALL, *STOPS, rounds=9)] == [1, 2, 3]


MISTAKES = {
    "patience": (["early_stop.patience=0"], "early_stop.patience=0 is not possible. Accepted: a whole number of at"),
    "min_delta": (["early_stop.min_delta=1"], "early_stop.min_delta=1.0 is not possible. Accepted: a number in [0, 1)"),
    "never": (["eval_every=0"], "early_stop=validation sees no validation accuracy with eval_every=0"),
    "none": (["splits=[0.7,0,0.3]"], "early_stop=validation sees no validation accuracy with eval_every=1"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named(case: str, federate: Federate) -> None:
    words, message = MISTAKES[case]
    with pytest.raises(UserError) as found:
        federate("early_stop=validation", *words)
    assert message in str(found.value)
