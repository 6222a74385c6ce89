"""Partitions by quantity."""

import numpy as np
import pytest
from divided import MANY_LABELS, few, partition, run_seeds
from hypothesis import given
from hypothesis import strategies as st


@few
@given(st.integers(2, 20), st.sampled_from([0.05, 0.5, 5.0]), run_seeds)
def test_quantity_gives_everything_away_and_enough_to_each(num_clients: int, alpha: float, seed: int) -> None:
    shares = partition("quantity", num_clients=num_clients, alpha=alpha, min_samples=7).assign(MANY_LABELS, seed)
    assert sum(map(len, shares)) == 1200
    assert min(map(len, shares)) >= 7


def test_quantity_is_less_even_with_a_smaller_alpha() -> None:
    def spread(alpha: float) -> float:
        return float(np.std([len(share) for share in partition("quantity", alpha=alpha).assign(MANY_LABELS, 0)]))

    assert spread(0.05) > 2 * spread(100.0)


@pytest.mark.parametrize(
    ("law", "expected"),
    [("linear", [120, 240, 360, 480]), ("square", [40, 160, 360, 640]), ("exponential", [38, 104, 284, 774])],
)
def test_quantity_by_law(law: str, expected: list[int]) -> None:
    # 1200 samples by 1:2:3:4, 1:4:9:16, and e:e²:e³:e⁴ = 3.2 %, 8.7 %, 23.7 %, 64.4 %; the last takes what is left
    shares = partition("quantity_law", num_clients=4, law=law).assign(MANY_LABELS, 0)
    assert [len(share) for share in shares] == expected
