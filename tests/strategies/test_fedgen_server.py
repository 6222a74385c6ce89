"""FedGen's server: the generator's losses by hand, and what it learns."""

import math
from typing import Any

import pytest
import torch
from fedgen_toys import gen
from toys import three_parameters

from fedpers.federation import Federation
from strategies.fedd2s.server import frozen_head
from strategies.fedgen_server import COUNT, GENERATOR, PRIOR, GeneratorServer, ensemble_loss, likeness


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


@pytest.fixture
def make_server(config):
    scalars: Any = (1,)  # inputs of the three-parameter model, where others have channels, height and width
    federation = Federation(config(), {0: 1, 1: 2, 2: 3}, 2, scalars, three_parameters, {})
    return lambda **changes: GeneratorServer(gen(**changes), federation)


def test_the_generator_learns_what_heads_recognize(make_server) -> None:
    """Class 0 is positive to client 0, which has most of it, and class 1 to client 2, which has all of it."""
    server = make_server()
    assert server.send_to(0, 1) == {}
    weights = server.aggregate(1, {0: sent((2.0, -2.0), [9, 0]), 2: sent((-1.0, 1.0), [1, 5])})
    assert weights["head.weight"].flatten().tolist() == pytest.approx([(9 * 2 - 6) / 15, (-9 * 2 + 6) / 15])
    assert set(weights) == {"base.weight", "head.weight"}
    given = server.send_to(0, 2)
    assert given[PRIOR].tolist() == pytest.approx([10 / 15, 5 / 15])
    generator = frozen_head(given, GENERATOR)
    assert generator is not None
    labels, inputs = gen().draw(given[PRIOR], 200, torch.Generator().manual_seed(1))
    z = generator(inputs).flatten()
    assert z[labels == 0].gt(0).float().mean() > 0.95
    assert z[labels == 1].gt(0).float().mean() > 0.95  # alone, client 0 would have it negative
    assert z.std() > 0.1


def test_diversity_spreads_what_is_generated(make_server) -> None:
    spread = []
    for weight in (0.0, 5.0):
        server = make_server(lambda_div=weight)
        server.aggregate(1, {0: sent((2.0, -2.0), [9, 0])})
        _, inputs = gen().draw(torch.tensor([1.0, 0.0]), 200, torch.Generator().manual_seed(1))
        spread.append(server.generator(inputs).std().item())
    assert spread[1] > 2 * spread[0]
