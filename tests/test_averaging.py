"""Means of tensors by name: by hand, of integers, and to the bit those of Flower's FedAvg."""

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from hypothesis import given
from hypothesis import strategies as st

from fedpers.averaging import plain_mean, weighted_mean

STATES = [
    {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(1)},
    {"w": torch.tensor([5.0, -2.0]), "n": torch.tensor(4)},
    {"w": torch.tensor([0.0, 4.0]), "n": torch.tensor(5)},
]


def test_weighted_mean_by_hand() -> None:
    mean = weighted_mean(STATES, [0.5, 0.25, 0.25])
    assert mean["w"].tolist() == [1.75, 1.5]
    assert mean["n"].tolist() == 3  # 2.75
    assert weighted_mean(STATES[:1], [1.0])["w"].tolist() == [1, 2]


def test_plain_mean_by_hand() -> None:
    mean = plain_mean(STATES[:2])
    assert mean["w"].tolist() == [3, 0]
    assert mean["n"].tolist() == 2  # 2.5: a tie goes to the even number


@pytest.mark.parametrize("mean", [plain_mean, lambda states: weighted_mean(states, [0.5, 0.5])])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float16, torch.float64])
def test_means_keep_their_type(mean, dtype: torch.dtype) -> None:
    found = mean([{"x": torch.tensor([2, 4], dtype=dtype)}, {"x": torch.tensor([3, 8], dtype=dtype)}])["x"]
    assert found.dtype == dtype
    assert found.tolist() == ([2.5, 6] if dtype.is_floating_point else [2, 6])


def test_integer_buffers_keep_their_type() -> None:
    """2.6 is rounded, where a mere change of type would cut it off."""
    states = [{"num_batches_tracked": torch.tensor(n), "w": torch.tensor([1.5])} for n in (2, 3)]
    mean = weighted_mean(states, [0.4, 0.6])
    assert mean["num_batches_tracked"].dtype == torch.int64
    assert mean["num_batches_tracked"].item() == 3
    assert mean["w"].tolist() == [1.5]


def test_large_counters_are_averaged_exactly() -> None:
    """In float32 2^24 + 1 is no number."""
    states = [{"n": torch.tensor(2**24 + 1)}] * 2
    assert weighted_mean(states, [0.5, 0.5])["n"].item() == 2**24 + 1
    assert plain_mean(states)["n"].item() == 2**24 + 1


def test_flags_stay_flags() -> None:
    states = [{"f": torch.tensor([True, False, False])}, {"f": torch.tensor([False, False, True])}]
    for mean in (plain_mean(states), weighted_mean(states, [0.5, 0.5])):
        assert mean["f"].tolist() == [True, False, True]


def test_what_is_averaged_stays_as_it_is() -> None:
    for mean in (plain_mean(STATES[:1]), weighted_mean(STATES[:1], [1.0])):
        mean["w"].add_(7)
        mean["n"].add_(7)
    assert STATES[0]["w"].tolist() == [1, 2]
    assert STATES[0]["n"].tolist() == 1


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_average_is_flowers_to_the_bit(sizes: list[int], seed: int) -> None:
    """Counters apart, which Flower leaves as the floating-point numbers that averaging makes of them."""
    generator = torch.Generator().manual_seed(seed)
    states = [
        {
            "w": torch.randn(3, 2, generator=generator),
            "n": torch.randint(9, (), generator=generator),
            "h": torch.randn(4, generator=generator).half(),
        }
        for _ in sizes
    ]
    replies = [
        RecordDict({"arrays": ArrayRecord(state), "metrics": MetricRecord({"num-examples": size})})
        for state, size in zip(states, sizes, strict=True)
    ]
    expected = {key: a.numpy() for key, a in aggregate_arrayrecords(replies, "num-examples").items()}
    expected["n"] = np.rint(expected["n"]).astype(np.int64)
    found = weighted_mean(states, [size / sum(sizes) for size in sizes])
    assert {key: (str(t.numpy().dtype), t.shape, t.numpy().tobytes()) for key, t in found.items()} == {
        key: (str(a.dtype), a.shape, a.tobytes()) for key, a in expected.items()
    }
