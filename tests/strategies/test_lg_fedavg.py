"""LG-FedAvg: by hand, and Local and FedAvg as its ends."""

import pytest
import zoo
from by_hand import from_yaml
from federations import personal
from toys import make_task, three_parameters

from strategies.lg_fedavg import LGFedAvg

# x = 1 with label 0, logits scale * (a, b), lr 1. With p = softmax(logits)[0]: dCE/dhead = scale (p - 1) (1, -1),
# dCE/dscale = (a - b) (p - 1). From scale 2 and head (0, 0), p = 1/2: the head's step leads to (1, -1).


def test_lg_fedavg_sends_the_head() -> None:
    client = LGFedAvg(shared=("head",))
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    assert list(update.send) == ["head.weight"]
    assert update.send["head.weight"].flatten().tolist() == pytest.approx([1, -1])
    assert {key: value.tolist() for key, value in update.keep.items()} == {"base.weight": [2.0]}


def test_lg_fedavg_shares_the_last_stages(federate) -> None:
    """The trap: the first layers are what stays."""
    run = federate("strategy=lg_fedavg")
    assert set(run.traffic[run.traffic.direction == "up"].kind) == {"weights", "metrics"}
    model = zoo.from_yaml("cnn", (1, 28, 28), 10)
    personal_keys = from_yaml("lg_fedavg").personal_keys(model)
    assert "conv1.0.weight" in personal_keys
    assert "head.bias" not in personal_keys
    assert personal_keys < set(model.tensors())


def test_lg_fedavg_at_its_ends(federate) -> None:
    nothing = federate("strategy=lg_fedavg", "strategy.shared=[]", "participation=0.5")
    assert personal(nothing).equals(personal(federate("strategy=local", "participation=0.5")))
    everything = federate("strategy=lg_fedavg", "strategy.shared=[fc1,fc2,head]", "participation=0.5")
    assert personal(everything).equals(personal(federate("strategy=fedavg", "participation=0.5")))
