"""Low rank: how many singular values stay, and what is sent whole."""

import pytest
import torch

from strategies.parts.low_rank import LEFT, RIGHT, compress, expand, low_rank


@pytest.mark.parametrize(("energy", "rank"), [(0.1, 1), (0.63, 1), (0.65, 2), (0.99, 2)])
def test_rank_by_hand(energy: float, rank: int) -> None:
    """Squared singular values 16 and 9: 0.64 and all of the energy."""
    matrix = torch.zeros(6, 5)
    matrix[0, 0], matrix[1, 1] = 3.0, 4.0
    left, right = low_rank(matrix, energy)
    assert (left.shape, right.shape) == ((6, rank), (rank, 5))
    matrix[0, 0] *= rank - 1
    assert torch.allclose(expand(left, right), matrix, atol=1e-6)


def test_what_is_not_less_in_low_rank_is_sent_whole() -> None:
    before = {"square": torch.ones(4, 4), "same": torch.ones(8, 8), "bias": torch.zeros(4), "wrong": torch.zeros(8, 8)}
    after = {"square": torch.eye(4), "same": torch.ones(8, 8), "bias": torch.ones(4), "wrong": torch.ones(8, 8) / 0}
    sent = compress(after, before, 0.9)
    assert set(sent) == {"bias", *(side + key for side in (LEFT, RIGHT) for key in ("square", "same", "wrong"))}
    for key in ("square", "wrong"):
        assert torch.equal(expand(sent[LEFT + key], sent[RIGHT + key]), after[key] - before[key])
        assert not len(sent[RIGHT + key])
    assert sent[LEFT + "same"].shape == (8, 1)
    assert not expand(sent[LEFT + "same"], sent[RIGHT + "same"]).any()
    assert compress(after, before, 1.0) == after
