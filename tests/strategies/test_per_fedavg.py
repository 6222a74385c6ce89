"""Per-FedAvg: by hand, with and without a Hessian, and the global model as its limit."""

import math

import pytest
from by_hand import from_yaml, numbers, sigmoid
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.per_fedavg import PerFedAvg

# x = 1 with label 0, scale 2, head (0, 0), lr 1: the cross-entropy's gradient is (-1, 1) for the head, 0 for the scale.


def test_per_fedavg_by_hand() -> None:
    """Halves of one sample each: w~ has the head 0.5 (1, -1), logits (1, -1)."""
    client = PerFedAvg(adaptation_lr=0.5)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0], [1.0]], [0, 0]))
    r = 1 - sigmoid(2)
    assert numbers(update.send) == pytest.approx([2 + r, 2 * r, -2 * r])
    model = client.personalize(make_task(three_parameters(2.0), client, [[1.0], [1.0]], [0, 0]))
    assert numbers(model.tensors()) == pytest.approx([2, 0.5, -0.5])


def test_per_fedavg_hessian_free_by_hand() -> None:
    """g = (-r, -2r, 2r) at w~ as above; a Hessian-vector product at w = (2, 0, 0), where CE = log(1 + exp(-s (a - b))).

    With u = s (a - b) = 0, CE' = -1/2 and CE'' = 1/4. The Hessian's row of s is -1/2 (d_a - d_b), that of a is
    -1/2 d_s + 1/4 s^2 (d_a - d_b), that of b its opposite.
    """
    client = PerFedAvg(adaptation_lr=0.5, hessian_delta=0.01)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]] * 3, [0] * 3))
    r = 1 - sigmoid(2)
    of_scale, of_head = -0.5 * (-4 * r), -0.5 * -r + (-4 * r)
    expected = [2 + r + 0.5 * of_scale, 2 * r + 0.5 * of_head, -2 * r - 0.5 * of_head]
    assert numbers(update.send) == pytest.approx(expected, abs=1e-4)
    assert update.metrics["loss"] == pytest.approx(-math.log(sigmoid(2)))


def test_per_fedavg_gives_each_step_a_part_of_the_batch() -> None:
    """The second of two samples decides the step, the first one where it is taken; a single one serves for both."""
    client = PerFedAvg(adaptation_lr=0.5)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0], [0.0]], [0, 0]))
    swapped = client.train(make_task(three_parameters(2.0), client, [[0.0], [1.0]], [0, 0]))
    outcomes = sorted(numbers(state.send)[1] for state in (update, swapped))
    assert outcomes[0] == 0 or outcomes[1] == 1  # whichever of them the shuffled order took first
    alone = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    assert numbers(alone.send)[1] == pytest.approx(2 * (1 - sigmoid(2)))


def test_per_fedavg_without_adaptation_uses_the_global_model(federate) -> None:
    table = federate("strategy=per_fedavg", "strategy.adaptation_lr=0").scores
    parts = [
        table[table.model == model].drop(columns="model").reset_index(drop=True) for model in ("personal", "global")
    ]
    assert parts[0].equals(parts[1])


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("per_fedavg", "adaptation_lr", -1.0), ("per_fedavg", "hessian_delta", 0.0)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml(strategy, **{key: value})
