"""FedDyn: a client and the server by hand."""

import pytest
import torch
from by_hand import Half, federation, from_yaml, named, numbers, sigmoid
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.feddyn import FedDyn

# x = 1 with label 0, scale 2, head (0, 0), lr 1: the cross-entropy's gradient is (-1, 1) for the head, 0 for the scale.


def test_feddyn_by_hand() -> None:
    client = FedDyn(alpha=0.4)
    state = named("gradient/", 0.1, 0.5, -0.5)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=state))
    assert numbers(update.send) == pytest.approx([2.1, 1.5, -1.5])
    assert numbers(update.keep, "gradient/") == pytest.approx([0.1 - 0.4 * 0.1, 0.5 - 0.4 * 1.5, -0.5 + 0.4 * 1.5])


def test_feddyn_squares_the_norm() -> None:
    """The trap: the pull grows with the distance, alpha (w - w_t)."""
    client = FedDyn(alpha=0.4)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], local_epochs=2))
    assert numbers(update.send)[1] == pytest.approx(1 + 2 * (1 - sigmoid(4)) - 0.4)


def test_feddyn_server_by_hand() -> None:
    """Of 4 clients 2 are sampled, w_t = 1, they send 2 and 4: h = -0.4 / 4 * (1 + 3), w = 3 - h / 0.4."""
    initial = {key: torch.ones_like(value) for key, value in three_parameters().tensors().items()}
    server = Half(FedDyn(alpha=0.4).server(federation(num_clients=4, initial=initial)))
    sent = {n: {key: torch.full_like(v, value) for key, v in initial.items()} for n, value in ((0, 2), (3, 4))}
    state = server.aggregate(1, sent)
    assert numbers(state) == pytest.approx([4, 4, 4])
    assert server.state.h["base.weight"].tolist() == pytest.approx([-0.4])
    # again: h goes on to -0.4 - 0.4 / 4 * ((2 - 4) + (4 - 4)) = -0.2, w = 3 + 0.2 / 0.4
    assert numbers(server.aggregate(2, sent)) == pytest.approx([3.5, 3.5, 3.5])
    assert server.state.h["base.weight"].tolist() == pytest.approx([-0.2])


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("feddyn", "alpha", 0.0)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml(strategy, **{key: value})
