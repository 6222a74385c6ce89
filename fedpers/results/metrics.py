"""Figures over clients and rounds: mean, fairness, benefit over a reference, convergence. Pure functions.

What each client's model is scored by before that (accuracy, loss, AUC, ...) is `fedpers.scoring`.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]


def _values(values: ArrayLike) -> Values:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"expected a non-empty list of numbers, one a client, found shape {array.shape}")
    return array


def worst_share(values: ArrayLike, share: float = 0.1) -> float:
    """Return the mean over the worst `share` of the clients, at least one of them."""
    array = np.sort(_values(values))
    return float(array[: max(1, math.ceil(share * len(array) - 1e-9))].mean())


def best_share(values: ArrayLike, share: float = 0.1) -> float:
    """Return the mean over the best `share` of the clients, at least one of them."""
    return -worst_share(-_values(values), share)


def jain(values: ArrayLike) -> float:
    """Return Jain's fairness index, (Σx)² / (n Σx²): 1 when all are equal, 1/n when one has everything.

    Jain, Chiu and Hawe, "A Quantitative Measure of Fairness and Discrimination", DEC TR-301, 1984. All zeros, where
    all are equal, give 1.
    """
    array = _values(values)
    squares = float((array**2).sum())
    return float(array.sum()) ** 2 / (len(array) * squares) if squares else 1.0


def gini(values: ArrayLike) -> float:
    """Return the Gini coefficient of non-negative values: 0 when all are equal, (n-1)/n at worst."""
    array = np.sort(_values(values))
    total = float(array.sum())
    if not total:
        return 0.0
    n = len(array)
    return float(((2 * np.arange(1, n + 1) - n - 1) * array).sum()) / (n * total)


def entropy(values: ArrayLike) -> float:
    """Return the entropy, in nats, of the clients' shares of the summed values: log(n) when all are equal.

    Li et al., "Fair Resource Allocation in Federated Learning" (ICLR 2020), use it on accuracies.
    """
    array = _values(values)
    if not array.sum():
        return math.log(len(array))
    shares = array[array > 0] / array.sum()
    return float(-(shares * np.log(shares)).sum())


def describe(values: ArrayLike, num_examples: ArrayLike, *, smaller_is_better: bool = False) -> dict[str, float]:
    """Return the mean of any metric and how evenly clients have it.

    Args:
        values: (clients,), one a client.
        num_examples: (clients,) samples that each was scored on.
        smaller_is_better: The worst clients are those with the largest values.
    """
    array, weights = _values(values), _values(num_examples)
    return {
        "mean": float(array.mean()),
        "weighted": float(np.average(array, weights=weights)),
        "std": float(array.std()),
        "worst_10pct": best_share(array) if smaller_is_better else worst_share(array),
        "num_clients": len(array),
    }


def summarize(accuracy: ArrayLike, num_examples: ArrayLike) -> dict[str, float]:
    """Return the headline and the fairness of one model on one split after one round.

    Args:
        accuracy: (clients,) in 0 to 1.
        num_examples: (clients,) samples that each was scored on.
    """
    values = _values(accuracy)
    return {
        **describe(values, num_examples),
        "best_10pct": best_share(values),
        "jain": jain(values),
        "gini": gini(values),
        "entropy": entropy(values),
    }


def benefit(accuracy: ArrayLike, reference: ArrayLike) -> dict[str, float]:
    """Compare clients with the same clients in a reference run (usually Local).

    Returns:
        `gain`, the mean difference; `harmed`, the share of clients that are worse off.
    """
    ours, theirs = _values(accuracy), _values(reference)
    if len(ours) != len(theirs):
        raise ValueError(f"expected the same clients in both runs, found {len(ours)} and {len(theirs)}")
    difference = ours - theirs
    return {"gain": float(difference.mean()), "harmed": float((difference < 0).mean())}


def confidence_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return Student's interval for the mean; a single value gives infinite bounds."""
    from scipy import stats  # late: it takes half a second

    array = _values(values)
    if len(array) < 2:
        return -math.inf, math.inf
    half = float(stats.t.ppf((1 + level) / 2, len(array) - 1)) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return float(array.mean()) - half, float(array.mean()) + half


def first_reaching(points: Sequence[tuple[float, float]], target: float) -> float | None:
    """Return the first x (round, bytes) at which y (accuracy) reaches a target; None if it never does."""
    return next((x for x, y in sorted(points) if y >= target), None)
