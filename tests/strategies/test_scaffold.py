"""SCAFFOLD: a client and the server by hand, and FedAvg in its first round."""

import pytest
import torch
from by_hand import Half, federation, named, numbers, sigmoid
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.scaffold import Scaffold

# x = 1 with label 0, scale 2, head (0, 0), lr 1: the cross-entropy's gradient is (-1, 1) for the head, 0 for the scale.


def test_scaffold_corrects_by_c_minus_c_k() -> None:
    received, state = named("control/server/", 0.2, 0.1, 0.3), named("control/client/", 0.0, 0.2, 0.1)
    task = make_task(three_parameters(2.0), Scaffold(), [[1.0]], [0], received=received, state=state)
    update = Scaffold().train(task)
    sent = {key: value for key, value in update.send.items() if "/" not in key}
    assert numbers(sent) == pytest.approx([1.8, 1.1, -1.2])
    assert numbers(update.send, "control/delta/") == pytest.approx([0, -1.2, 0.9], abs=1e-6)
    # Option II: the new control variate is the mean gradient without correction
    assert numbers(update.keep, "control/client/") == pytest.approx([0, -1, 1], abs=1e-6)


def test_scaffold_divides_by_its_steps() -> None:
    """Two steps of lr 0.5: c_k becomes the mean of the two gradients."""
    update = Scaffold().train(make_task(three_parameters(2.0), Scaffold(), [[1.0]], [0], local_epochs=2, lr=0.5))
    second = 2 * (sigmoid(2) - 1)  # logits 2 (0.5, -0.5), gradient of the head's first weight
    assert numbers(update.keep, "control/client/")[1] == pytest.approx((-1 + second) / 2)


def test_scaffold_server_moves_c_by_the_sampled_share() -> None:
    server = Half(Scaffold().server(federation(num_clients=4)))
    assert server.send_to(1, 1) == {}
    sent = {0: {"w": torch.tensor([1.0]), "control/delta/w": torch.tensor([1.0])}}
    sent[2] = {"w": torch.tensor([3.0]), "control/delta/w": torch.tensor([3.0])}
    for expected in (1.0, 2.0):
        state = server.aggregate(1, sent)
        assert {key: value.tolist() for key, value in state.items()} == {"w": [2.0]}
        assert server.send_to(1, 2)["control/server/w"].tolist() == [expected]
        assert server.send_to(1, 1, "score") == {}


def test_scaffolds_first_round_is_fedavgs(federate) -> None:
    """All clients have equally many samples."""
    first, average = (federate(f"strategy={name}", "rounds=1").scores for name in ("scaffold", "fedavg"))
    assert first.loss.to_numpy() == pytest.approx(average.loss.to_numpy(), abs=1e-6)


@pytest.mark.parametrize("key", ["momentum", "weight_decay"])
def test_scaffold_needs_plain_sgd(key: str, config) -> None:
    with pytest.raises(UserError, match=rf"strategy=scaffold with {key}=0\.5 is not possible"):
        Scaffold().check(three_parameters(), config(f"{key}=0.5"))
