"""FedRep: by hand, and FedAvg as its limit."""

import math

import pytest
from by_hand import from_yaml, sigmoid
from federations import personal
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fedrep import FedRep

# x = 1 with label 0, logits scale * (a, b), lr 1. With p = softmax(logits)[0]: dCE/dhead = scale (p - 1) (1, -1),
# dCE/dscale = (a - b) (p - 1). From scale 2 and head (0, 0), p = 1/2: the head's step leads to (1, -1).


def test_fedrep_fits_the_head_first() -> None:
    client = FedRep(personal=("head",), head_epochs=1)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([1, -1])
    # then the base, with logits 2 (1, -1): p = sigmoid(4), dCE/dscale = 2 (p - 1)
    assert list(update.send) == ["base.weight"]
    assert update.send["base.weight"].tolist() == pytest.approx([2 + 2 * (1 - sigmoid(4))])
    assert update.metrics["loss"] == pytest.approx(-math.log(sigmoid(4)), abs=1e-6)


def test_fedrep_counts_both_kinds_of_epochs() -> None:
    client = FedRep(personal=("head",), head_epochs=2)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], local_epochs=2))
    a = 1 + 2 * (1 - sigmoid(4))  # the head's second step: scale 2 times 1 - p
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([a, -a])
    first = 2 + 2 * a * (1 - sigmoid(4 * a))
    assert update.send["base.weight"].tolist() == pytest.approx([first + 2 * a * (1 - sigmoid(2 * a * first))])


def test_fedrep_leaves_gradients_on() -> None:
    model = three_parameters(2.0)
    client = FedRep(personal=("head",), head_epochs=1)
    client.train(make_task(model, client, [[1.0]], [0]))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_fedrep_without_personal_layers_is_fedavg(federate) -> None:
    nothing = federate("strategy=fedrep", "strategy.personal=[]", "participation=0.5")
    assert personal(nothing).equals(personal(federate("strategy=fedavg", "participation=0.5")))


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("fedrep", "head_epochs", -1), ("fedrep", "personal", ["nothing"])],
)
def test_impossible_value_is_named(strategy: str, key: str, value: object, config) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}"):
        from_yaml(strategy, **{key: value}).check(three_parameters(), config())
