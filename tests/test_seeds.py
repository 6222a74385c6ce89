"""Random streams: each depends on everything that names it and on nothing else."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpers import seeds


@pytest.mark.parametrize(
    ("seed", "purpose", "where", "expected"),
    [
        # sha256("fedpers:SEED:ROUND:CLIENT:PURPOSE"), its first 8 bytes read as little-endian, halved
        (0, "init", {}, 978929021616332404),
        (7, "batches", {"round": 3, "client": 2}, 2624637791576146146),
        (7, "batches", {}, 3383184697768486279),
    ],
)
def test_golden_seeds(seed: int, purpose: str, where: dict[str, int], expected: int) -> None:
    """Seeds must not change between releases: old runs could not be repeated any more."""
    assert seeds.derive(seed, purpose, **where) == expected


def test_golden_streams() -> None:
    numbers = seeds.numpy_generator(0, "splits", client=1).integers(0, 1000, 5)
    assert numbers.tolist() == [748, 612, 93, 885, 99]
    generator = seeds.torch_generator(0, "splits", client=1)
    assert torch.randint(0, 1000, (5,), generator=generator).tolist() == [39, 786, 103, 271, 869]


def test_every_argument_counts() -> None:
    found = {
        seeds.derive(seed, purpose, round=round, client=client)
        for seed in (0, 1, 10)
        for purpose in ("batches", "splits", "")
        for round in (0, 1, 10)
        for client in (-1, 0, 1, 10)
    }
    assert len(found) == 3 * 3 * 3 * 4


def test_defaults_are_the_server_before_the_first_round() -> None:
    assert seeds.derive(5, "x") == seeds.derive(5, "x", round=0, client=seeds.SERVER)


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 2**70), st.text(max_size=20), st.integers(0, 10**6), st.integers(-1, 10**6))
def test_seeds_fit_every_generator(seed: int, purpose: str, round: int, client: int) -> None:
    derived = seeds.derive(seed, purpose, round=round, client=client)
    assert 0 <= derived < 2**63
    assert torch.Generator().manual_seed(derived).initial_seed() == derived


def test_global_generators_are_left_alone() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    seeds.torch_generator(0, "x")
    seeds.numpy_generator(0, "x").random(3)
    with seeds.seeded_initialization(0, "x"):
        torch.nn.Linear(3, 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]


def test_global_generator_is_restored_after_an_error() -> None:
    def fail() -> None:
        with seeds.seeded_initialization(0, "x"):
            torch.rand(3)
            raise KeyError

    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_follow_from_seed_and_purpose() -> None:
    def weights(seed: int, purpose: str) -> torch.Tensor:
        torch.rand(seed + 1)  # whatever happened before
        with seeds.seeded_initialization(seed, purpose):
            return torch.nn.Linear(4, 4).weight.detach()

    first = weights(3, "model")
    assert torch.equal(weights(3, "model"), first)
    assert not torch.equal(weights(4, "model"), first)
    assert not torch.equal(weights(3, "other"), first)
