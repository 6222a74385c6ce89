"""FedPer: by hand, and FedAvg and Local as its limits."""

import pytest
from federations import personal
from toys import make_task, three_parameters

from strategies.fedper import FedPer

# From scale 2 and head weights (0, 0) on x = 1 with label 0: logits (0, 0), dCE/dlogits = (-1/2, 1/2), times the
# representation 2: dCE/dhead = (-1, 1), dCE/dscale = head . dlogits = 0. One step with lr 1: head (1, -1), scale 2.


def test_fedper_sends_the_base_and_keeps_the_head() -> None:
    client = FedPer(personal=("head",))
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    assert {key: value.flatten().tolist() for key, value in update.send.items()} == {"base.weight": [2.0]}
    assert list(update.keep) == ["head.weight"]
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([1, -1])


def test_fedper_without_personal_layers_is_fedavg(federate) -> None:
    nothing = personal(federate("strategy=fedper", "strategy.personal=[]"))
    assert nothing.equals(personal(federate("strategy=fedavg")))


def test_fedper_with_all_layers_personal_is_local(federate) -> None:
    everything = personal(federate("strategy=fedper", "strategy.personal=[fc1,fc2,head]"))
    assert everything.equals(personal(federate("strategy=local")))


def test_fedper_has_no_global_model(federate) -> None:
    assert set(federate("strategy=fedper").scores.model) == {"personal"}
