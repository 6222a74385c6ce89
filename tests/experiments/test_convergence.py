"""When a target accuracy is reached, by hand."""

import pandas as pd
import pytest

from experiments import convergence
from experiments.machinery.outcome import Outcome
from experiments.machinery.scales import LOCAL
from experiments.machinery.study import Condition


def test_targets_and_when_they_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = {0: pd.Series([10.0, 50.0, 40.0], [2, 4, 6]), 1: pd.Series([10.0, 20.0, 30.0], [2, 4, 6])}
    outcome = Outcome(LOCAL, Condition(""), (), {0: "run", 1: "run"})  # type: ignore[dict-item]
    outcome.__dict__["curves"] = curves
    sent = pd.Series([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], range(1, 7))
    monkeypatch.setattr(convergence, "cumulative_megabytes", lambda run: sent)
    monkeypatch.setattr(convergence, "seconds_a_round", lambda run: 0.5)
    assert convergence.reached(outcome, 20.0) == {0: (4.0, 4.0, 2.0), 1: (4.0, 4.0, 2.0)}
    assert convergence.reached(outcome, 25.0) == {0: (4.0, 4.0, 2.0), 1: (6.0, 6.0, 3.0)}
    assert convergence.reached(outcome, 45.0) == {0: (4.0, 4.0, 2.0)}
