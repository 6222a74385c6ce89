"""Natural clients: the owners of samples."""

import re
from typing import Any

import numpy as np
import pytest
from divided import MANY_LABELS, OWNERS, partition
from numpy.testing import assert_array_equal

from fedpers.data.partitions.natural import Natural
from fedpers.errors import UserError


def test_natural_clients_are_the_owners() -> None:
    shares = partition("natural").assign(MANY_LABELS, 0, OWNERS)
    assert len(shares) == 30
    for owner, share in enumerate(shares):
        assert_array_equal(share, np.flatnonzero(owner == OWNERS))


def test_natural_clients_are_drawn_where_fewer_are_wanted() -> None:
    first, second = (partition("natural", num_clients=5).assign(MANY_LABELS, seed, OWNERS) for seed in (0, 1))
    owners = [[int(OWNERS[share[0]]) for share in shares] for shares in (first, second)]
    assert len(set(owners[0])) == 5
    assert owners[0] != owners[1]


def test_several_owners_make_a_client() -> None:
    shares = partition("natural", owners_per_client=4).assign(MANY_LABELS, 0, OWNERS)
    found = [set(OWNERS[share].tolist()) for share in shares]
    assert [len(owners) for owners in found] == [4] * 7 + [2]
    assert set.union(*found) == set(range(30))


def test_owners_with_few_samples_are_left_out() -> None:
    owners = np.repeat([0, 1, 2], [500, 5, 695])
    shares = partition("natural", min_samples=6).assign(MANY_LABELS, 0, owners)
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
        partition("natural", **changes).assign(MANY_LABELS, 0, owners)


def test_natural_is_a_partition() -> None:
    assert isinstance(partition("natural"), Natural)
