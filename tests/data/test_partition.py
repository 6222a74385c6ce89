"""Partitions and splits: nobody shares a sample, nobody is empty, and a seed decides all of it."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from ondisk import read_spec
from sklearn.datasets import load_digits

from fedpers.build import build
from fedpers.data.label_skew import Dirichlet, InnerDirichlet, Pathological
from fedpers.data.partition import Iid, Partition
from fedpers.data.prepare import assign, assignment_sha256
from fedpers.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:Classes. .* will NOT be used")

LABELS = np.random.default_rng(0).permutation(np.arange(600) % 10)
DIGITS = load_digits().target.astype(np.int64)
SPLITS = [0.6, 0.15, 0.25]

few = settings(max_examples=12, deadline=None, derandomize=True)
clients = st.integers(1, 8)
run_seeds = st.integers(0, 10_000)


def iid(num_clients: int, **changes: Any) -> Iid:
    return Iid(**{"num_clients": num_clients, "min_samples": 3, "max_samples": None} | changes)


def dirichlet(num_clients: int, alpha: float, **changes: Any) -> Dirichlet:
    values = {"num_clients": num_clients, "min_samples": 3, "max_samples": None, "alpha": alpha, "balanced": False}
    return Dirichlet(**values | changes)


def pathological(num_clients: int, classes: int, **changes: Any) -> Pathological:
    values = {"num_clients": num_clients, "min_samples": 3, "max_samples": None}
    return Pathological(**values | {"classes_per_client": classes} | changes)


partitions = st.one_of(
    st.builds(iid, clients),
    st.builds(dirichlet, clients, st.sampled_from([0.5, 1.0, 10.0])),
    st.builds(pathological, clients, st.integers(1, 10)),
)


@few
@given(partitions, run_seeds)
def test_no_sample_is_used_twice(partition: Partition, seed: int) -> None:
    shares = partition.assign(LABELS, seed)
    used = np.concatenate(shares)
    assert len(shares) == partition.num_clients
    assert min(map(len, shares)) >= 3
    assert len(np.unique(used)) == len(used)
    assert 0 <= used.min() <= used.max() < len(LABELS)


@few
@given(clients, run_seeds)
def test_iid_uses_all_samples_evenly(num_clients: int, seed: int) -> None:
    shares = iid(num_clients).assign(LABELS, seed)
    assert_array_equal(np.sort(np.concatenate(shares)), np.arange(600))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


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


@few
@given(partitions, run_seeds)
def test_a_seed_decides_the_assignment(partition: Partition, seed: int) -> None:
    first, again, other = (assignment_sha256(assign(LABELS, partition, SPLITS, s)) for s in (seed, seed, seed + 1))
    assert first == again
    assert first != other


@few
@given(partitions, run_seeds, st.sampled_from([SPLITS, [0.75, 0.0, 0.25], [0.5, 0.25, 0.25]]))
def test_splits_are_disjoint_and_of_the_size_asked_for(partition: Partition, seed: int, splits: list[float]) -> None:
    shares = partition.assign(LABELS, seed)
    for share, parts in zip(shares, assign(LABELS, partition, splits, seed), strict=True):
        assert_array_equal(np.sort(np.concatenate(parts)), share)  # all of them, none twice
        train, val, test = map(len, parts)
        assert train >= 1
        assert test == max(1, round(splits[2] * len(share)))
        assert val == (max(1, round(splits[1] * len(share))) if splits[1] else 0)


def test_splits_are_no_slices_of_the_dataset() -> None:
    train, val, test = assign(LABELS, iid(1), SPLITS, 0)[0]
    assert min(test) < max(train)
    assert min(train) < max(test)
    assert min(val) < max(train)


@pytest.mark.parametrize("splits", [[0.98, 0.01, 0.01], [0.6, 0.15, 0.25]])
def test_smallest_client_has_every_split(splits: list[float]) -> None:
    parts = assign(LABELS[:9], iid(3), splits, 0)
    assert [[len(part) for part in client] for client in parts] == [[1, 1, 1]] * 3


def test_client_without_training_samples() -> None:
    with pytest.raises(UserError, match=r"client 0 holds 3 samples, too few for splits=\[0\.1, 0\.1, 0\.8\]"):
        assign(LABELS[:9], iid(3), [0.1, 0.1, 0.8], 0)


def test_max_samples_draws_a_random_subset() -> None:
    subsets = [np.concatenate(iid(4, max_samples=100).assign(LABELS, seed)) for seed in (0, 1)]
    assert [len(np.unique(subset)) for subset in subsets] == [100, 100]
    assert set(subsets[0]) != set(subsets[1])
    assert max(subsets[0]) > 300  # not the first hundred
    assert sum(map(len, iid(4, max_samples=10_000).assign(LABELS, 0))) == 600


@pytest.mark.parametrize(
    ("name", "changes", "named", "accepted"),
    [
        ("iid", {"num_clients": 0}, "partition.num_clients=0", "at least 1"),
        ("iid", {"num_clients": -3}, "partition.num_clients=-3", "at least 1"),
        ("iid", {"num_clients": 601}, "partition.num_clients=601", "at most 200 clients"),
        ("iid", {"num_clients": 201}, "partition.num_clients=201", "at most 200 clients"),
        ("iid", {"min_samples": 2}, "partition.min_samples=2", "at least 3"),
        ("iid", {"max_samples": 0}, "partition.max_samples=0", "at least 1"),
        ("iid", {"max_samples": 11}, "partition.num_clients=4", "at most 3 clients"),
        ("dirichlet", {"alpha": 0.0}, "partition.alpha=0.0", "above 0"),
        ("dirichlet", {"alpha": -1.0}, "partition.alpha=-1.0", "above 0"),
        ("dirichlet", {"alpha": float("nan")}, "partition.alpha=nan", "above 0"),
        ("dirichlet", {"alpha": float("inf")}, "partition.alpha=inf", "above 0"),
        ("pathological", {"classes_per_client": 0}, "partition.classes_per_client=0", "1 to 10"),
        ("pathological", {"classes_per_client": 11}, "partition.classes_per_client=11", "1 to 10"),
    ],
)
def test_impossible_value_is_named(name: str, changes: dict[str, Any], named: str, accepted: str) -> None:
    spec = read_spec("partition", name) | {"num_clients": 4, "min_samples": 3} | changes
    with pytest.raises(UserError) as caught:
        build(spec, "partition").assign(LABELS, 0)
    assert named in str(caught.value)
    assert accepted in str(caught.value).partition("Accepted: ")[2]


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


def test_golden_assignment() -> None:
    """Who holds what must not change between releases: results of old runs could not be compared any more."""
    partition = dirichlet(20, 0.3, min_samples=10)
    assert assignment_sha256(assign(DIGITS, partition, SPLITS, 0)) == (
        "0d024b8bd0b4a92c7991cd40fcef3fa15d436d4ef5217e582e0166ab67559ec6"
    )


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
