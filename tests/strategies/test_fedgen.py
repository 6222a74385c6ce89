"""FedGen: a client's step and the generator's losses by hand, what is drawn, sent and learnt, FedAvg as its limit."""

import math
from typing import Any

import pytest
import torch
from by_hand import Half, federation, from_yaml, numbers
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fedgen import COUNT, GENERATOR, PRIOR, FedGen, ensemble_loss, likeness
from strategies.parts.heads import frozen_head, head_of


def gen(**changes: float) -> FedGen:
    values = {"lambda_gen": 0.5, "lambda_div": 0.1, "noise_size": 3, "generator_hidden": 8}
    values |= {"server_steps": 150, "server_lr": 0.03, "server_batch_size": 16}
    return FedGen(**(values | changes))  # type: ignore[arg-type]


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


def test_the_ensembles_loss_by_hand() -> None:
    """Client 0 has three of four samples of class 0, client 1 all of class 1."""
    counts = torch.tensor([[3.0, 0.0], [1.0, 5.0]])
    logits = torch.tensor([[[2.0, 0.0], [7.0, 7.0]], [[-2.0, 0.0], [1.0, 4.0]]])
    losses = [math.log(1 + math.exp(-1)), math.log(1 + math.exp(-3))]
    assert ensemble_loss(logits, torch.tensor([0, 1]), counts).item() == pytest.approx(sum(losses) / 2)


def test_likeness_by_hand() -> None:
    """Noise 3 apart, representations 4 apart in two values: of the four pairs two have 3 * 4 / 2."""
    z = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    assert likeness(torch.tensor([[0.0], [3.0]]), z).item() == pytest.approx(math.exp(-(6 + 6) / 4))
    assert likeness(torch.tensor([[1.0], [1.0]]), z).item() == 1


def sent(head: tuple[float, float], count: list[int]) -> dict[str, torch.Tensor]:
    return {**three_parameters(1.0, head).tensors(), COUNT: torch.tensor(count)}


def make_server(**changes: float) -> Half:
    scalars: Any = (1,)  # inputs of the three-parameter model, where others have channels, height and width
    return Half(gen(**changes).server(federation(num_clients=3, shape=scalars)))


def test_the_generator_learns_what_heads_recognize() -> None:
    """Class 0 is positive to client 0, which has most of it, and class 1 to client 2, which has all of it."""
    server = make_server()
    assert server.send_to(0, 1) == {}
    weights = server.aggregate(1, {0: sent((2.0, -2.0), [9, 0]), 2: sent((-1.0, 1.0), [1, 5])}, {0: 9, 2: 6})
    assert weights["head.weight"].flatten().tolist() == pytest.approx([(9 * 2 - 6) / 15, (-9 * 2 + 6) / 15])
    assert set(weights) == {"base.weight", "head.weight"}
    assert server.send_to(0, 1, "score") == {}
    given = server.send_to(0, 2)
    assert given[PRIOR].tolist() == pytest.approx([10 / 15, 5 / 15])
    generator = frozen_head(given, GENERATOR)
    assert generator is not None
    labels, inputs = gen().draw(given[PRIOR], 200, torch.Generator().manual_seed(1))
    z = generator(inputs).flatten()
    assert z[labels == 0].gt(0).float().mean() > 0.95
    assert z[labels == 1].gt(0).float().mean() > 0.95  # alone, client 0 would have it negative
    assert z.std() > 0.1


def test_diversity_spreads_what_is_generated() -> None:
    spread = []
    for weight in (0.0, 5.0):
        server = make_server(lambda_div=weight)
        server.aggregate(1, {0: sent((2.0, -2.0), [9, 0])})
        _, inputs = gen().draw(torch.tensor([1.0, 0.0]), 200, torch.Generator().manual_seed(1))
        spread.append(head_of(server.state.generator)(inputs).std().item())
    assert spread[1] > 2 * spread[0]


def test_the_generator_is_sent_for_training_only(federate) -> None:
    down = federate("strategy=fedgen").traffic.query("direction == 'down' and kind in ('weights', 'generator')")
    sizes = down.groupby(["phase", "round"]).bytes.sum().unstack()
    assert sizes.loc["train", 2] > sizes.loc["train", 1]
    assert sizes.loc["evaluate"].nunique() == 1
    generator = down[down.kind == "generator"]
    assert set(generator.phase) == {"train"}
    assert set(generator["round"]) == {2, 3}


def test_lambda_zero_is_fedavg(federate) -> None:
    average = federate("strategy=fedavg").scores
    assert federate("strategy=fedgen", "strategy.lambda_gen=0").scores.equals(average)
    assert not federate("strategy=fedgen").scores.equals(average)


@pytest.mark.parametrize(
    ("key", "value"),
    [("lambda_gen", -1.0), ("lambda_div", -1.0), ("noise_size", 0), ("server_steps", -1), ("server_lr", 0.0)],
)
def test_impossible_value_is_named(key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}"):
        from_yaml("fedgen", **{key: value})
