"""Intervals and scores on the way, against numbers worked out by hand."""

import math
from pathlib import Path

import pandas as pd
import pytest
from studies import write_run

from experiments.machinery.outcome import at_quarter, estimate


def test_confidence_interval_by_hand() -> None:
    found = estimate({0: 80.0, 1: 82.0, 2: 87.0})
    assert found is not None
    assert found.mean == pytest.approx(83)
    # deviations -3, -1, 4: s = sqrt(26 / 2) = 3.60555; t(0.975, 2) = 4.30265; 4.30265 * 3.60555 / sqrt(3) = 8.95671
    assert found.half == pytest.approx(8.95671, abs=1e-4)
    single = estimate({0: 80.0})
    assert single is not None
    assert (single.half, single.high) == (None, math.inf)
    assert estimate({}) is None


def test_a_quarter_of_the_rounds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0.0, 0.0, rounds=10)  # a quarter is 2.5 rounds: after the third
    assert at_quarter(run, pd.Series([1.0, 2.0, 3.0, 4.0], [1, 2, 3, 4])) == 3
    assert at_quarter(run, pd.Series([1.0, 2.0], [2, 4])) == 1
    assert at_quarter(run, pd.Series([1.0, 2.0], [5, 10])) == 1  # nothing earlier was scored
