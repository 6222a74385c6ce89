"""All partitions: nobody shares a sample, nobody is empty, a seed decides all of it, and no assignment changes."""

import re
from typing import Any

import numpy as np
import pytest
from divided import (
    LABELS,
    MANY_LABELS,
    OWNERS,
    SPLITS,
    clients,
    dirichlet,
    few,
    iid,
    partition,
    pathological,
    run_seeds,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from ondisk import read_spec
from sklearn.datasets import load_digits

from fedpers.config.build import build
from fedpers.data.division import assign, assignment_sha256
from fedpers.data.partitions.base import Partition
from fedpers.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:Classes. .* will NOT be used")
DIGITS = load_digits().target.astype(np.int64)
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
        ("dirichlet", {"alpha": float("nan")}, "partition.alpha=nan", "finite numbers"),
        ("dirichlet", {"alpha": float("inf")}, "partition.alpha=inf", "finite numbers"),
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


def test_golden_assignment() -> None:
    """Who holds what must not change between releases: results of old runs could not be compared any more."""
    partition = dirichlet(20, 0.3, min_samples=10)
    assert assignment_sha256(assign(DIGITS, partition, SPLITS, 0)) == (
        "0d024b8bd0b4a92c7991cd40fcef3fa15d436d4ef5217e582e0166ab67559ec6"
    )


@few
@given(
    st.sampled_from(["shards", "quantity", "quantity_law", "natural", "inner_dirichlet", "iid", "pathological"]),
    st.integers(1, 12),
    run_seeds,
)
def test_properties_of_all(name: str, num_clients: int, seed: int) -> None:
    made = partition(name, num_clients=num_clients)
    shares = made.assign(MANY_LABELS, seed, OWNERS)
    used = np.concatenate(shares)
    assert len(shares) == num_clients
    assert len(np.unique(used)) == len(used)
    assert 0 <= used.min() <= used.max() < len(MANY_LABELS)
    assert min(map(len, shares)) >= 3
    assert all((np.diff(share) > 0).all() for share in shares)
    hashes = [assignment_sha256(assign(MANY_LABELS, made, SPLITS, s, OWNERS)) for s in (seed, seed, seed + 1)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("shards", {"shards_per_client": 0}, "partition.shards_per_client=0 is not possible for 20 clients"),
        ("shards", {"shards_per_client": 61}, "Accepted: 1 to 60"),
        ("quantity", {"alpha": 0.0}, "partition.alpha=0.0 is not possible"),
        ("quantity_law", {"law": "cubic"}, "partition.law='cubic' has the wrong type. Accepted: linear, square"),
        ("quantity_law", {"law": "exponential"}, "the partition could not be made"),
    ],
)
def test_impossible_skew_is_named(name: str, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        partition(name, **changes).assign(MANY_LABELS, 0)


GOLDEN = {
    "dirichlet": "ad16e37a7fde0002",
    "iid": "fdcb68402b8bc235",
    "inner_dirichlet": "f79f18e9eef8f35f",
    "natural": "c528d4563e397092",
    "pathological": "b7e3ea80241674ca",
    "quantity": "8acd5aa08b6f0161",
    "quantity_law": "43c9961fff9fe307",
    "shards": "b1ccb8c40e8c7c28",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_assignments(name: str) -> None:
    """Who holds what must be the same on every machine and in every release."""
    made = partition(name, **({"num_clients": 6} if name != "natural" else {}))
    assert assignment_sha256(assign(MANY_LABELS, made, SPLITS, 0, OWNERS))[:16] == GOLDEN[name]
