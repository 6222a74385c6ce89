"""FedBABU: by hand, and what tuning changes."""

import pytest
from by_hand import from_yaml, sigmoid
from federations import personal
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fedbabu import FedBABU

# x = 1 with label 0, logits scale * (a, b), lr 1. With p = softmax(logits)[0]: dCE/dhead = scale (p - 1) (1, -1),
# dCE/dscale = (a - b) (p - 1).


def test_fedbabu_trains_the_body_only() -> None:
    client = FedBABU(personal=("head",), tuning_epochs=0)
    update = client.train(make_task(three_parameters(1.0, (1.0, -1.0)), client, [[1.0]], [0]))
    assert {key: value.tolist() for key, value in update.send.items()} == {
        "base.weight": [pytest.approx(1 + 2 * (1 - sigmoid(2)))]
    }
    assert update.keep == {}


def test_fedbabu_tunes_the_whole_model_before_use() -> None:
    client = FedBABU(personal=("head",), tuning_epochs=1)
    model = client.personalize(make_task(three_parameters(1.0, (1.0, -1.0)), client, [[1.0]], [0]))
    step = 1 - sigmoid(2)
    assert model.get_parameter("base.weight").tolist() == pytest.approx([1 + 2 * step])
    assert model.get_parameter("head.weight").flatten().tolist() == pytest.approx([1 + step, -1 - step])


def test_fedbabu_head_stands_still_and_tuning_is_forgotten(federate) -> None:
    """Without tuning all clients answer by the same model; tuning makes them differ and leaves training as it was."""
    plain = federate("strategy=fedbabu", "strategy.tuning_epochs=0")
    tuned = federate("strategy=fedbabu", "strategy.tuning_epochs=2")
    assert personal(tuned).loss.mean() < personal(plain).loss.mean()
    up = [run.traffic[run.traffic.direction == "up"].groupby("kind").bytes.sum()["weights"] for run in (plain, tuned)]
    assert up[0] == up[1]
    column = federate("strategy=fedbabu", "strategy.tuning_epochs=0", "finetune_epochs=2").scores
    assert column[column.model == "finetuned"].loss.mean() < personal(plain).loss.mean()


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("fedbabu", "tuning_epochs", -1)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: object, config) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}"):
        from_yaml(strategy, **{key: value}).check(three_parameters(), config())
