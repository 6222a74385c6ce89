"""Which of many alike cases run among the quick tests; the others are slow, and run in CI."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

STRATEGIES = ("fedd2s", "fedpac", "flower_fedadam")
"""Knowledge and a schedule; something of its own for each client, heads, averages; a Flower strategy."""


def mostly_slow(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Mark cases as slow but for those that stand for the others.

    Args:
        cases: Values for `pytest.mark.parametrize`.
        quick: Those that stand for the others; each is one of `cases`.
    """
    cases = list(cases)
    assert all(case in cases for case in quick), "what stands for others is one of them"
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]
