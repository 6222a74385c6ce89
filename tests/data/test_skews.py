"""Partitions by shards, by quantity and by nature: properties, and assignments that must never change."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from ondisk import read_spec

from fedpers.build import build
from fedpers.data.natural import Natural
from fedpers.data.partition import Partition
from fedpers.data.prepare import assign, assignment_sha256
from fedpers.errors import UserError

LABELS = np.random.default_rng(0).permutation(np.arange(1200) % 10)
OWNERS = np.random.default_rng(1).integers(0, 30, 1200)
SPLITS = [0.6, 0.15, 0.25]
few = settings(max_examples=15, deadline=None, derandomize=True)
some_seed = st.integers(0, 10_000)


def partition(name: str, **changes: Any) -> Partition:
    made: Partition = build(read_spec("partition", name) | {"min_samples": 3} | changes, "partition")
    return made


@few
@given(
    st.sampled_from(["shards", "quantity", "quantity_law", "natural", "inner_dirichlet", "iid", "pathological"]),
    st.integers(1, 12),
    some_seed,
)
def test_properties_of_all(name: str, num_clients: int, seed: int) -> None:
    made = partition(name, num_clients=num_clients)
    shares = made.assign(LABELS, seed, OWNERS)
    used = np.concatenate(shares)
    assert len(shares) == num_clients
    assert len(np.unique(used)) == len(used)
    assert 0 <= used.min() <= used.max() < len(LABELS)
    assert min(map(len, shares)) >= 3
    assert all((np.diff(share) > 0).all() for share in shares)
    hashes = [assignment_sha256(assign(LABELS, made, SPLITS, s, OWNERS)) for s in (seed, seed, seed + 1)]
    assert hashes[0] == hashes[1] != hashes[2]


@few
@given(st.integers(2, 20), st.integers(1, 4), some_seed)
def test_shards_are_of_few_classes(num_clients: int, count: int, seed: int) -> None:
    shares = partition("shards", num_clients=num_clients, shards_per_client=count).assign(LABELS, seed)
    size = 1200 // (num_clients * count)
    assert [len(share) for share in shares] == [size * count] * num_clients
    # a shard of at most 120 sorted samples, the size of a class, holds at most 2 of them
    if size <= 120:
        assert max(len(np.unique(LABELS[share])) for share in shares) <= 2 * count


@few
@given(st.integers(2, 20), st.sampled_from([0.05, 0.5, 5.0]), some_seed)
def test_quantity_gives_everything_away_and_enough_to_each(num_clients: int, alpha: float, seed: int) -> None:
    shares = partition("quantity", num_clients=num_clients, alpha=alpha, min_samples=7).assign(LABELS, seed)
    assert sum(map(len, shares)) == 1200
    assert min(map(len, shares)) >= 7


def test_quantity_is_less_even_with_a_smaller_alpha() -> None:
    def spread(alpha: float) -> float:
        return float(np.std([len(share) for share in partition("quantity", alpha=alpha).assign(LABELS, 0)]))

    assert spread(0.05) > 2 * spread(100.0)


@pytest.mark.parametrize(
    ("law", "expected"),
    [("linear", [120, 240, 360, 480]), ("square", [40, 160, 360, 640]), ("exponential", [38, 104, 284, 774])],
)
def test_quantity_by_law(law: str, expected: list[int]) -> None:
    # 1200 samples by 1:2:3:4, 1:4:9:16, and e:e²:e³:e⁴ = 3.2 %, 8.7 %, 23.7 %, 64.4 %; the last takes what is left
    shares = partition("quantity_law", num_clients=4, law=law).assign(LABELS, 0)
    assert [len(share) for share in shares] == expected


def test_natural_clients_are_the_owners() -> None:
    shares = partition("natural").assign(LABELS, 0, OWNERS)
    assert len(shares) == 30
    for owner, share in enumerate(shares):
        assert_array_equal(share, np.flatnonzero(owner == OWNERS))


def test_natural_clients_are_drawn_where_fewer_are_wanted() -> None:
    first, second = (partition("natural", num_clients=5).assign(LABELS, seed, OWNERS) for seed in (0, 1))
    owners = [[int(OWNERS[share[0]]) for share in shares] for shares in (first, second)]
    assert len(set(owners[0])) == 5
    assert owners[0] != owners[1]


def test_several_owners_make_a_client() -> None:
    shares = partition("natural", owners_per_client=4).assign(LABELS, 0, OWNERS)
    found = [set(OWNERS[share].tolist()) for share in shares]
    assert [len(owners) for owners in found] == [4] * 7 + [2]
    assert set.union(*found) == set(range(30))


def test_owners_with_few_samples_are_left_out() -> None:
    owners = np.repeat([0, 1, 2], [500, 5, 695])
    shares = partition("natural", min_samples=6).assign(LABELS, 0, owners)
    assert [len(share) for share in shares] == [500, 695]


@pytest.mark.parametrize(
    ("changes", "owners", "expected"),
    [
        ({}, None, "partition=natural: the dataset does not say whose its samples are. Accepted: a dataset that does"),
        ({"num_clients": 31}, OWNERS, "partition.num_clients=31: 30 of 30 natural clients hold at least"),
        ({"min_samples": 1000}, OWNERS, "0 of 30 natural clients hold at least partition.min_samples=1000"),
        ({"owners_per_client": 0}, OWNERS, "partition.owners_per_client=0 is not possible. Accepted: at least 1"),
        ({"num_clients": 0}, OWNERS, "partition.num_clients=0 is not possible"),
    ],
)
def test_impossible_natural_clients(changes: dict[str, Any], owners: Any, expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        partition("natural", **changes).assign(LABELS, 0, owners)


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
        partition(name, **changes).assign(LABELS, 0)


def test_dirichlet_without_balance_is_less_even() -> None:
    def spread(balanced: bool) -> float:
        return float(np.std([len(s) for s in partition("dirichlet", balanced=balanced, alpha=0.5).assign(LABELS, 0)]))

    assert spread(False) > 1.5 * spread(True)


def test_many_clients_with_a_small_alpha() -> None:
    labels = np.arange(30_000) % 10
    with pytest.raises(UserError, match="partition=inner_dirichlet draws for each client and never fails so"):
        partition("dirichlet", num_clients=1000, alpha=0.1, min_samples=10).assign(labels, 0)
    shares = partition("inner_dirichlet", num_clients=1000, alpha=0.1, samples_per_client=20).assign(labels, 0)
    assert [len(share) for share in shares] == [20] * 1000


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
    assert assignment_sha256(assign(LABELS, made, SPLITS, 0, OWNERS))[:16] == GOLDEN[name]


def test_natural_is_a_partition() -> None:
    assert isinstance(partition("natural"), Natural)
