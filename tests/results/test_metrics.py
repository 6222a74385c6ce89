"""Metrics against values worked out by hand, and properties that hold for all values."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedpers.results import metrics

# accuracies as they occur: shares of up to a thousand answers
accuracies = st.lists(st.integers(0, 1000).map(lambda right: right / 1000), min_size=1, max_size=30)
scales = st.floats(0.01, 100)
ONE_OF_EACH = [metrics.jain, metrics.gini, metrics.entropy, metrics.worst_share, metrics.best_share]

many = settings(deadline=None, derandomize=True)
close = pytest.approx


def test_worst_and_best_share() -> None:
    values = [0.9, 0.1, 0.5, 0.3, 0.7]
    assert metrics.worst_share(values) == close(0.1)  # a tenth of five clients is at least one
    assert metrics.best_share(values) == close(0.9)
    assert metrics.worst_share(values, 0.4) == close(0.2)  # 0.1 and 0.3
    assert metrics.best_share(values, 0.4) == close(0.8)  # 0.9 and 0.7
    assert metrics.worst_share(values, 0.41) == close(0.3)  # 2.05 clients, so three: 0.1, 0.3, 0.5
    assert metrics.worst_share(values, 1.0) == close(0.5)


def test_shares_count_clients_exactly() -> None:
    # in floating point 0.07 * 100 is 7.000000000000001, which must not count as eight clients
    assert metrics.worst_share(range(100), 0.07) == close(3.0)  # 0 to 6
    assert metrics.worst_share(range(30)) == close(1.0)  # 0, 1, 2
    assert metrics.worst_share(range(20)) == close(0.5)  # 0, 1
    assert metrics.worst_share(range(21)) == close(1.0)  # 2.1 clients: 0, 1, 2
    assert metrics.best_share(range(20)) == close(18.5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3], 36 / (3 * 14)),
        ([0, 0, 0, 5], 1 / 4),
        ([0.4, 0.4], 1),
        ([0, 0], 1),
        ([0.7], 1),
    ],
)
def test_jain(values: list[float], expected: float) -> None:
    assert metrics.jain(values) == close(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # half the mean absolute difference over all ordered pairs, over the mean:
        # differences 1, 2, 1, each twice: 8 / 9 / 2 / 2 = 2/9
        ([1, 2, 3], 2 / 9),
        ([3, 1, 2], 2 / 9),
        ([0, 0, 0, 5], 3 / 4),
        ([0.4, 0.4], 0),
        ([0, 0], 0),
        ([0.7], 0),
    ],
)
def test_gini(values: list[float], expected: float) -> None:
    assert metrics.gini(values) == close(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # shares 1/4, 1/4, 1/2: 2 * 1/4 log 4 + 1/2 log 2 = 1.5 log 2
        ([0.2, 0.2, 0.4], 1.5 * math.log(2)),
        ([0.5, 0.5, 0.5], math.log(3)),
        ([0, 0, 5], 0),
        ([0, 1, 1], math.log(2)),
        ([0, 0], math.log(2)),
    ],
)
def test_entropy(values: list[float], expected: float) -> None:
    assert metrics.entropy(values) == close(expected)


def test_summarize() -> None:
    figures = metrics.summarize([0.5, 1.0, 0.0], [10, 30, 10])
    assert figures == close(
        {
            "mean": 0.5,
            "weighted": 35 / 50,
            "std": math.sqrt(0.5 / 3),  # of these clients, not an estimate for others
            "worst_10pct": 0.0,
            "best_10pct": 1.0,
            "jain": 2.25 / (3 * 1.25),
            "gini": 4 / 9,  # differences 0.5, 1, 0.5, each twice: 4 / 9 / 2 / 0.5
            "entropy": math.log(3) - 2 / 3 * math.log(2),  # shares 1/3, 2/3
            "num_clients": 3,
        }
    )


def test_benefit() -> None:
    # differences +0.2, -0.1, 0, +0.1: three of four are no worse off
    assert metrics.benefit([0.7, 0.4, 0.5, 1.0], [0.5, 0.5, 0.5, 0.9]) == close({"gain": 0.05, "harmed": 0.25})


@pytest.mark.parametrize("reference", [[0.5], [0.5, 0.6, 0.7]])
def test_benefit_compares_the_same_clients(reference: list[float]) -> None:
    with pytest.raises(ValueError, match=r"."):
        metrics.benefit([0.5, 0.6], reference)


def test_confidence_interval() -> None:
    # mean 3, standard deviation sqrt(10/4); t with 4 degrees of freedom has its 97.5th percentile at 2.776445
    half = 2.776445 * math.sqrt(2.5) / math.sqrt(5)
    assert metrics.confidence_interval([1, 2, 3, 4, 5]) == close((3 - half, 3 + half), abs=1e-5)
    # with 1 degree of freedom it has its 75th percentile at 1; standard deviation sqrt(2)
    assert metrics.confidence_interval([0, 2], level=0.5) == close((0, 2))
    assert metrics.confidence_interval([4, 4, 4]) == close((4, 4))
    assert metrics.confidence_interval([4]) == (-math.inf, math.inf)


def test_first_reaching() -> None:
    points = [(3, 0.8), (1, 0.2), (2, 0.5), (4, 0.4)]
    assert metrics.first_reaching(points, 0.5) == 2
    assert metrics.first_reaching(points, 0.6) == 3
    assert metrics.first_reaching(points, 0.1) == 1
    assert metrics.first_reaching(points, 0.81) is None
    assert metrics.first_reaching([], 0.0) is None


@pytest.mark.parametrize("function", [*ONE_OF_EACH, metrics.confidence_interval])
@pytest.mark.parametrize("values", [[], [[0.1, 0.2]], 0.5])
def test_anything_but_a_list_of_numbers_is_refused(function: Callable[..., float], values: object) -> None:
    with pytest.raises(ValueError, match="expected a non-empty list of numbers"):
        function(values)


@many
@given(accuracies)
def test_bounds(values: list[float]) -> None:
    n = len(values)
    assert 1 / n - 1e-9 <= metrics.jain(values) <= 1 + 1e-9
    assert -1e-9 <= metrics.gini(values) <= (n - 1) / n + 1e-9
    assert -1e-9 <= metrics.entropy(values) <= math.log(n) + 1e-9


@many
@given(accuracies, st.floats(0.05, 1))
def test_worst_mean_best_are_in_order(values: list[float], share: float) -> None:
    mean = float(np.mean(values))
    worst, best = metrics.worst_share(values, share), metrics.best_share(values, share)
    assert min(values) - 1e-9 <= worst <= mean + 1e-9
    assert mean - 1e-9 <= best <= max(values) + 1e-9


@many
@given(accuracies, st.randoms(use_true_random=False))
def test_order_of_the_clients_does_not_matter(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for function in ONE_OF_EACH:
        assert function(shuffled) == close(function(values), abs=1e-9)


@many
@given(st.integers(1, 1000), st.integers(1, 30))
def test_equal_clients(value: int, n: int) -> None:
    values = [value / 1000] * n
    assert metrics.jain(values) == close(1)
    assert metrics.gini(values) == close(0, abs=1e-9)
    assert metrics.entropy(values) == close(math.log(n), abs=1e-9)
    assert metrics.worst_share(values) == metrics.best_share(values) == close(value / 1000)


@many
@given(accuracies, scales)
def test_fairness_does_not_depend_on_the_unit(values: list[float], scale: float) -> None:
    scaled = [scale * value for value in values]
    for function in (metrics.jain, metrics.gini, metrics.entropy):
        assert function(scaled) == close(function(values), abs=1e-9)


@many
@given(accuracies)
def test_giving_to_the_poorest_makes_it_fairer(values: list[float]) -> None:
    assume(max(values) - min(values) > 0.01)
    fairer = sorted(values)
    fairer[0], fairer[-1] = fairer[0] + 0.005, fairer[-1] - 0.005
    assert metrics.jain(fairer) > metrics.jain(values)
    assert metrics.gini(fairer) < metrics.gini(values)
    assert metrics.entropy(fairer) > metrics.entropy(values)
