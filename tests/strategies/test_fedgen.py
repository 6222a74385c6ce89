"""FedGen: a client's step by hand, what is drawn and sent, and FedAvg as its limit."""

import math

import pytest
import torch
from by_hand import from_yaml, numbers
from fedgen_toys import gen
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fedgen_server import COUNT, GENERATOR, PRIOR


def constant(z: float) -> dict[str, torch.Tensor]:
    """A generator that always says z, for two classes and three values of noise, and p̂ of class 1 alone."""
    layers = {"hidden.weight": torch.ones(8, 5), "hidden.bias": torch.zeros(8)}
    layers |= {"logits.weight": torch.zeros(1, 8), "logits.bias": torch.tensor([z])}
    return {GENERATOR + key: w for key, w in layers.items()} | {PRIOR: torch.tensor([0.0, 1.0])}


def test_a_step_of_a_client_by_hand() -> None:
    """x = 1 with label 0, scale 2, and z = 3 with label 1; all logits 0, so the scale does not move."""
    update = gen().train(make_task(three_parameters(2.0), gen(), [[1.0]], [0], received=constant(3.0)))
    weights = {key: w for key, w in update.send.items() if key != COUNT}
    assert numbers(weights) == pytest.approx([2, 1 - 0.5 * 1.5, -1 + 0.5 * 1.5])
    assert update.metrics["loss"] == pytest.approx(1.5 * math.log(2))
    assert update.send[COUNT].tolist() == [1, 0]


def test_generated_representations_do_not_move_the_extractor() -> None:
    """With a head of (1, -1) the scale moves by the own sample alone: by (1 - sigmoid(4)) * 2."""
    update = gen().train(make_task(three_parameters(2.0, (1.0, -1.0)), gen(), [[1.0]], [0], received=constant(3.0)))
    assert update.send["base.weight"].item() == pytest.approx(2 + 2 / (1 + math.exp(4)))


def test_labels_are_drawn_as_they_are_distributed() -> None:
    labels, inputs = gen().draw(torch.tensor([0.25, 0.0, 0.75]), 4000, torch.Generator().manual_seed(0))
    assert labels.bincount(minlength=3).div(4000).tolist() == pytest.approx([0.25, 0, 0.75], abs=0.03)
    assert inputs.shape == (4000, 6)
    assert torch.equal(inputs[:, 3:].argmax(1), labels)
    assert inputs[:, :3].std().item() == pytest.approx(1, abs=0.03)


def test_the_generator_is_sent_for_training_only(federate) -> None:
    down = federate("strategy=fedgen").traffic.query("direction == 'down' and kind == 'weights'")
    sizes = down.groupby(["phase", "round"]).bytes.sum().unstack()
    assert sizes.loc["train", 2] > sizes.loc["train", 1]
    assert sizes.loc["evaluate"].nunique() == 1


def test_lambda_zero_is_fedavg(federate) -> None:
    average = federate("strategy=fedavg").metrics
    assert federate("strategy=fedgen", "strategy.lambda_gen=0").metrics.equals(average)
    assert not federate("strategy=fedgen").metrics.equals(average)


@pytest.mark.parametrize(
    ("key", "value"),
    [("lambda_gen", -1.0), ("lambda_div", -1.0), ("noise_size", 0), ("server_steps", -1), ("server_lr", 0.0)],
)
def test_impossible_value_is_named(key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}"):
        from_yaml("fedgen", **{key: value})
