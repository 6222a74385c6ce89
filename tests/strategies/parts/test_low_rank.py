"""Low rank: how many singular values stay, what is sent whole, and what the server makes of it."""

import pytest
import torch
from by_hand import Half, federation

from strategies.parts.low_rank import LEFT, RIGHT, LowRankServer, compress, expand, low_rank


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


def test_server_adds_factors_to_what_it_had_sent() -> None:
    """w_t = 1; client 0 (1 sample) moves the corner by 4 and the bias to 8, client 1 (3 samples) says 5 and 0."""
    before = {"w": torch.ones(8, 2, 4), "b": torch.ones(1)}
    corner = before["w"].clone()
    corner[0, 0, 0] = 5.0
    server = Half(LowRankServer(federation(initial=before)))
    sent = {
        0: compress({"w": corner, "b": torch.tensor([8.0])}, before, 0.99),
        1: compress({"w": torch.full((8, 2, 4), 5.0), "b": torch.tensor([0.0])}, before, 0.99),
    }
    assert set(sent[0]) == set(sent[1]) == {LEFT + "w", RIGHT + "w", "b"}
    mean = server.aggregate(1, sent, {0: 1, 1: 3})
    expected = torch.full((8, 2, 4), 1 + 0.75 * 4)
    expected[0, 0, 0] = 5.0
    torch.testing.assert_close(mean["w"], expected)
    assert mean["b"].tolist() == [2]  # 1/4 of 8
    assert before["w"].unique().tolist() == [1]
    again = {0: {"w": torch.zeros(8, 2, 4), "b": torch.zeros(1)}}  # weights that stand for themselves
    assert server.aggregate(2, again)["w"].unique().tolist() == [0]
