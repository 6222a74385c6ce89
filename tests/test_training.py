"""The batch loops against numbers worked out by hand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedpers.training import Batch, Score, Split, collect, cross_entropy, fit, score, sgd

EMPTY = Split(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))


def split(inputs: list[Any], labels: list[int] | None = None) -> Split:
    values = torch.tensor(inputs, dtype=torch.float32)
    return Split(values, torch.tensor(labels if labels is not None else [0] * len(values)))


def linear(w1: float = 0.0, w2: float = 0.0, b: float = 0.0) -> nn.Linear:
    """A model of three parameters: w1 x1 + w2 x2 + b."""
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[w1, w2]]))
        model.bias.fill_(b)
    return model


def parameters(model: nn.Linear) -> list[float]:
    return [*model.weight.detach().flatten().tolist(), *model.bias.detach().tolist()]


def half_squared_error(model: nn.Module, batch: Batch) -> Tensor:
    return ((model(batch.inputs)[:, 0] - batch.labels) ** 2).mean() / 2


def mean_output(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.inputs).mean()


def run(model: nn.Module, data: Split, **changes: Any) -> float:
    given = {"epochs": 1, "batch_size": 8, "generator": torch.Generator().manual_seed(0)}
    given["optimizer"] = sgd(model.parameters(), 0.1)
    return fit(model, data, **given | changes)


# fit

TWO_POINTS = split([[1, 2], [3, -1]], [0, 1])


def test_one_step() -> None:
    # w = (1, 0), b = 0: outputs 1 and 3, residuals r = 1 and 2
    # loss = (1² + 2²) / 2 / 2 = 1.25
    # gradient of w: (1 (1, 2) + 2 (3, -1)) / 2 = (3.5, 0); of b: (1 + 2) / 2 = 1.5
    # with lr 0.1: w = (0.65, 0), b = -0.15
    model = linear(1, 0, 0)
    assert run(model, TWO_POINTS, objective=half_squared_error) == pytest.approx(1.25)
    assert parameters(model) == pytest.approx([0.65, 0, -0.15])


def test_two_epochs_return_the_loss_of_the_last() -> None:
    # after the first: w = (0.65, 0), b = -0.15: outputs 0.5 and 1.8, residuals 0.5 and 0.8
    # loss = (0.25 + 0.64) / 4 = 0.2225
    # gradient of w: (0.5 (1, 2) + 0.8 (3, -1)) / 2 = (1.45, 0.1); of b: 0.65
    # w = (0.505, -0.01), b = -0.215
    model = linear(1, 0, 0)
    assert run(model, TWO_POINTS, objective=half_squared_error, epochs=2) == pytest.approx(0.2225)
    assert parameters(model) == pytest.approx([0.505, -0.01, -0.215])


def test_momentum() -> None:
    # velocity (3.5, 0, 1.5), then half of it and the second gradient: (3.2, 0.1, 1.4)
    # w = (0.65 - 0.32, -0.01), b = -0.15 - 0.14
    model = linear(1, 0, 0)
    optimizer = sgd(model.parameters(), 0.1, momentum=0.5)
    run(model, TWO_POINTS, objective=half_squared_error, epochs=2, optimizer=optimizer)
    assert parameters(model) == pytest.approx([0.33, -0.01, -0.29])


def test_weight_decay() -> None:
    # gradient (3.5, 0, 1.5) + 0.5 (1, 0, 0) = (4, 0, 1.5)
    model = linear(1, 0, 0)
    optimizer = sgd(model.parameters(), 0.1, weight_decay=0.5)
    run(model, TWO_POINTS, objective=half_squared_error, optimizer=optimizer)
    assert parameters(model) == pytest.approx([0.6, 0, -0.15])


def test_cross_entropy_is_the_default_objective() -> None:
    # all weights 0: both probabilities 1/2, loss log 2; label 0: gradient of the logits (-1/2, 1/2)
    # x = 2: gradient of the weights (-1, 1), of the biases (-1/2, 1/2)
    model = nn.Linear(1, 2)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    data = split([[2]], [0])
    loss = cross_entropy(model, Batch(data.inputs, data.labels, torch.tensor([0])))
    assert loss.item() == pytest.approx(math.log(2))
    assert run(model, data) == pytest.approx(math.log(2))
    assert model.weight.flatten().tolist() == pytest.approx([0.1, -0.1])
    assert model.bias.tolist() == pytest.approx([0.05, -0.05])


def test_last_partial_batch_trains() -> None:
    # three equal samples (1, 2) in batches of 2: two steps against the gradient (1, 2, 1)
    model = linear()
    run(model, split([[1, 2]] * 3), objective=mean_output, batch_size=2)
    assert parameters(model) == pytest.approx([-0.2, -0.4, -0.2])


def test_loss_is_the_mean_over_samples_not_batches() -> None:
    # outputs 1, 2, 6 that do not change, in batches of 2 and 1: (1 + 2 + 6) / 3, whatever the order;
    # the mean of the batches' means would be 3.75, 2.75 or 2.5
    model = linear(1, 0, 0)
    frozen = sgd(model.parameters(), 0.0)
    data = split([[1, 0], [2, 0], [6, 0]])
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        arguments = {"objective": mean_output, "optimizer": frozen, "generator": generator}
        assert run(model, data, batch_size=2, **arguments) == pytest.approx(3)


def test_gradients_are_clipped() -> None:
    # gradient (2, 2, 1) of norm 3, shortened to 1.5: (1, 1, 0.5)
    model = linear()
    run(model, split([[2, 2]]), objective=mean_output, clip_norm=1.5)
    assert parameters(model) == pytest.approx([-0.1, -0.1, -0.05], rel=1e-4)
    model = linear()
    run(model, split([[2, 2]]), objective=mean_output, clip_norm=3.5)
    assert parameters(model) == pytest.approx([-0.2, -0.2, -0.1])


@pytest.mark.parametrize(("mixed", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_mixed_precision_is_that_of_the_forward_pass_alone(mixed: bool, dtype: torch.dtype) -> None:
    model, seen = linear(0.1, 0.2, 0.3), []

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        logits = model(batch.inputs)
        seen.append((logits.dtype, torch.nn.functional.cross_entropy(logits.expand(-1, 2), batch.labels).dtype))
        return half_squared_error(model, batch)

    run(model, split([[1.0, 2.0]], [0]), objective=objective, mixed=mixed)
    assert seen == [(dtype, torch.float32)]
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)
    exact = linear(0.1, 0.2, 0.3)
    run(exact, split([[1.0, 2.0]], [0]), objective=half_squared_error)
    assert (parameters(model) == parameters(exact)) != mixed
    assert parameters(model) == pytest.approx(parameters(exact), abs=0.02)


def test_only_the_optimizers_parameters_move_and_count_for_the_norm() -> None:
    # the gradient of the weights alone is (2, 2), of norm sqrt(8), shortened to sqrt(2)
    model = linear(b=5)
    optimizer = sgd([model.weight], 0.1)
    run(model, split([[2, 2]]), objective=mean_output, clip_norm=math.sqrt(2), optimizer=optimizer)
    assert parameters(model) == pytest.approx([-0.1, -0.1, 5], rel=1e-4)


@pytest.mark.parametrize(("data", "epochs"), [(TWO_POINTS, 0), (EMPTY, 1)])
def test_nothing_to_do(data: Split, epochs: int) -> None:
    model = linear(1, 2, 3)
    assert run(model, data, objective=half_squared_error, epochs=epochs) == 0.0
    assert parameters(model) == [1, 2, 3]


@pytest.mark.parametrize(("norm", "sizes"), [(True, [2, 3]), (False, [2, 2, 1])])
def test_last_batch_of_one_joins_when_there_is_batch_norm(norm: bool, sizes: list[int]) -> None:
    found = []

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        found.append(len(batch.labels))
        return cross_entropy(model, batch)

    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3) if norm else nn.ReLU())
    run(model, split([[float(i), 1] for i in range(5)]), batch_size=2, objective=objective)
    assert found == sizes


def test_modes() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).eval()
    data = split([[1, 2], [3, 4]])
    run(model, data)
    assert model.training
    first = score(model, data)
    assert not model.training
    assert score(model, data) == first  # no dropout


def test_a_generator_decides_the_training() -> None:
    generator = torch.Generator().manual_seed(4)
    data = Split(torch.randn(20, 2, generator=generator), torch.randint(0, 3, (20,), generator=generator))

    def trained(seed: int) -> list[float]:
        model = linear()
        arguments = {"objective": half_squared_error, "generator": torch.Generator().manual_seed(seed)}
        run(model, data, batch_size=3, epochs=2, **arguments)
        return parameters(model)

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


# score and collect


def test_score_of_known_logits() -> None:
    # label 0 everywhere; probabilities of it: 1/2, 3/4, 1/4; a tie counts for the first class
    data = split([[0, 0], [math.log(3), 0], [0, math.log(3)]])
    expected = (math.log(2) + math.log(4 / 3) + math.log(4)) / 3
    for batch_size in (1, 2, 3, 512):
        found = score(nn.Identity(), data, batch_size=batch_size)
        assert found.num_examples == 3
        assert found.loss == pytest.approx(expected)
        assert found.accuracy == pytest.approx(2 / 3)


def test_score_of_nothing() -> None:
    assert score(nn.Identity(), EMPTY) == Score(0, 0.0, 0.0)


def test_score_leaves_no_gradients() -> None:
    model = nn.Linear(2, 2)
    score(model, TWO_POINTS)
    assert model.weight.grad is None


@pytest.mark.parametrize("batch_size", [1, 3, 7, 512])
def test_collect_keeps_the_order(batch_size: int) -> None:
    data = split([[i, -i] for i in range(7)])
    weight = torch.ones(2, requires_grad=True)
    first, second = collect(lambda x: (x * weight, x[:, 0] + 1), data, batch_size=batch_size)
    assert torch.equal(first, data.inputs)
    assert second.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert not first.requires_grad


# order

sizes = st.integers(1, 40)
quick = settings(max_examples=30, deadline=None, derandomize=True)


@quick
@given(sizes, sizes)
def test_in_order(n: int, batch_size: int) -> None:
    data = Split(torch.arange(n) * 2.0, torch.arange(n) % 3)
    batches = list(data.in_order(batch_size))
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(n))
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), data.inputs)
    assert torch.equal(torch.cat([batch.labels for batch in batches]), data.labels)
    assert {len(batch.labels) for batch in batches[:-1]} <= {batch_size}
    assert 1 <= len(batches[-1].labels) <= batch_size


@quick
@given(sizes, sizes, st.integers(1, 3), st.integers(0, 1000))
def test_shuffled_is_a_permutation(n: int, batch_size: int, min_size: int, seed: int) -> None:
    data = Split(torch.arange(n) * 2.0, torch.arange(n) % 3)
    batches = list(data.shuffled(batch_size, torch.Generator().manual_seed(seed), min_size=min_size))
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(n))
    for batch in batches:
        assert torch.equal(batch.inputs, data.inputs[batch.index])
        assert torch.equal(batch.labels, data.labels[batch.index])
    assert {len(batch.labels) for batch in batches[:-1]} <= {batch_size}
    assert len(batches) == 1 or len(batches[-1].labels) >= min(min_size, batch_size)


def test_shuffled_order_follows_from_the_generator() -> None:
    data = Split(torch.zeros(50), torch.zeros(50, dtype=torch.int64))

    def order(generator: torch.Generator) -> list[int]:
        return torch.cat([batch.index for batch in data.shuffled(8, generator)]).tolist()

    generator = torch.Generator().manual_seed(1)
    first, second = order(generator), order(generator)
    assert order(torch.Generator().manual_seed(1)) == first
    assert second != first  # a new order in each epoch
    assert first != list(range(50))
    torch.manual_seed(9)  # the global generator has no say
    assert order(torch.Generator().manual_seed(1)) == first
