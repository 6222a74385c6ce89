"""Partitions by label: how skewed they are, and what they cannot give."""

import re

import numpy as np
import pytest
from divided import LABELS, MANY_LABELS, clients, dirichlet, few, partition, pathological, run_seeds
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fedpers.data.partitions.label_skew import InnerDirichlet
from fedpers.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:Classes. .* will NOT be used")


@few
@given(clients, st.sampled_from([0.5, 2.0]), run_seeds)
def test_dirichlet_uses_all_samples(num_clients: int, alpha: float, seed: int) -> None:
    shares = dirichlet(num_clients, alpha).assign(LABELS, seed)
    assert_array_equal(np.sort(np.concatenate(shares)), np.arange(600))


def test_dirichlet_is_less_even_with_a_smaller_alpha() -> None:
    def unevenness(alpha: float) -> float:
        shares = dirichlet(8, alpha).assign(LABELS, 1)
        histograms = np.array([np.bincount(LABELS[share], minlength=10) / len(share) for share in shares])
        return float(histograms.max(axis=1).mean())

    assert unevenness(100.0) < 0.2 < unevenness(0.1)


@few
@given(clients, st.integers(1, 10), run_seeds)
def test_pathological_gives_each_client_the_classes_asked_for(num_clients: int, classes: int, seed: int) -> None:
    shares = pathological(num_clients, classes).assign(LABELS, seed)
    assert {len(np.unique(LABELS[share])) for share in shares} == {classes}


@pytest.mark.filterwarnings("ignore:The specified min_partition_size")
def test_minimum_that_dirichlet_cannot_give() -> None:
    with pytest.raises(UserError) as caught:
        dirichlet(20, 0.01, min_samples=30).assign(LABELS, 0)
    message = str(caught.value)
    assert "partition.min_samples=30" in message
    assert "partition.num_clients=20" in message
    assert "a larger partition.alpha" in message


def test_minimum_that_pathological_cannot_give() -> None:
    labels = np.repeat([0, 1], [590, 10])  # clients 1 and 3 share the ten samples of class 1
    with pytest.raises(UserError) as caught:
        pathological(4, 1, min_samples=20).assign(labels, 0)
    assert "partition.min_samples=20" in str(caught.value)
    assert "partition.num_clients=4" in str(caught.value)


def inner(**changes: object) -> InnerDirichlet:
    values = {"num_clients": 10, "min_samples": 5, "max_samples": None, "alpha": 0.1, "samples_per_client": 40}
    return InnerDirichlet(**(values | changes))  # type: ignore[arg-type]


def test_inner_dirichlet_gives_every_client_as_many_samples() -> None:
    labels = np.repeat(np.arange(10), 100)
    shares = inner().assign(labels, 0)
    assert [len(share) for share in shares] == [40] * 10
    assert len(np.unique(np.concatenate(shares))) == 400
    assert [len(share) for share in inner(samples_per_client=None).assign(labels, 0)] == [100] * 10
    assert all(np.array_equal(a, b) for a, b in zip(shares, inner().assign(labels, 0), strict=True))


def test_inner_dirichlet_concentrates_with_a_small_alpha() -> None:
    labels = np.repeat(np.arange(10), 1000)

    def largest_share(alpha: float) -> float:
        shares = inner(alpha=alpha).assign(labels, 0)
        return float(np.mean([np.bincount(labels[share], minlength=10).max() / 40 for share in shares]))

    assert largest_share(0.05) > 0.6 > 0.35 > largest_share(10.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"alpha": 0.0}, "partition.alpha=0.0"),
        ({"samples_per_client": 4}, "partition.samples_per_client=4"),
        ({"samples_per_client": 101}, "partition.samples_per_client=101 for 10 clients"),
    ],
)
def test_impossible_inner_dirichlet_is_named(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        inner(**changes).assign(np.repeat(np.arange(10), 100), 0)


@few
@given(st.integers(2, 20), st.integers(1, 4), run_seeds)
def test_shards_are_of_few_classes(num_clients: int, count: int, seed: int) -> None:
    shares = partition("shards", num_clients=num_clients, shards_per_client=count).assign(MANY_LABELS, seed)
    size = 1200 // (num_clients * count)
    assert [len(share) for share in shares] == [size * count] * num_clients
    # a shard of at most 120 sorted samples, the size of a class, holds at most 2 of them
    if size <= 120:
        assert max(len(np.unique(MANY_LABELS[share])) for share in shares) <= 2 * count


def test_dirichlet_without_balance_is_less_even() -> None:
    def spread(balanced: bool) -> float:
        return float(
            np.std([len(s) for s in partition("dirichlet", balanced=balanced, alpha=0.5).assign(MANY_LABELS, 0)])
        )

    assert spread(False) > 1.5 * spread(True)


@pytest.mark.slow
def test_many_clients_with_a_small_alpha() -> None:
    labels = np.arange(30_000) % 10
    with pytest.raises(UserError, match="partition=inner_dirichlet draws for each client and never fails so"):
        partition("dirichlet", num_clients=1000, alpha=0.1, min_samples=10).assign(labels, 0)
    shares = partition("inner_dirichlet", num_clients=1000, alpha=0.1, samples_per_client=20).assign(labels, 0)
    assert [len(share) for share in shares] == [20] * 1000
