"""Robust rules by hand, beside Flower's where it has them, and against attackers that move the mean anywhere."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fedpers.aggregation import Aggregation
from fedpers.aggregation.vectors import nearest
from fedpers.averaging import plain_mean, weighted_mean
from fedpers.config.build import build
from fedpers.config.compose import compose_config, group_choices
from fedpers.errors import UserError

RULES = [name for name in group_choices("aggregation") if name != "mean"]


def rule(name: str, **changes: object) -> Aggregation:
    """Build a rule as the command line does."""
    overrides = [f"aggregation.{key}={value}" for key, value in changes.items()]
    made: Aggregation = build(
        compose_config([f"aggregation={name}", *overrides]).aggregation, "aggregation", returns=Aggregation
    )
    return made


def states(*values: Sequence[float]) -> list[dict[str, Tensor]]:
    return [{"w": torch.tensor(value)} for value in values]


def combined(made: Aggregation, *values: Sequence[float], weights: list[float] | None = None) -> list[float]:
    found: list[float] = made.combine(states(*values), weights, {"w": torch.zeros(len(values[0]))})["w"].tolist()
    return found


def test_by_default_it_is_the_mean() -> None:
    sent = states([1.0, 2.0], [3.0, 6.0])
    assert torch.equal(Aggregation().combine(sent, [0.25, 0.75], {})["w"], weighted_mean(sent, [0.25, 0.75])["w"])
    assert torch.equal(Aggregation().combine(sent, None, {})["w"], plain_mean(sent)["w"])


def test_median_by_hand() -> None:
    assert combined(rule("median"), [1.0, 9.0], [2.0, 8.0], [100.0, -5.0]) == [2.0, 8.0]
    assert combined(rule("median"), [1.0], [2.0], [4.0], [100.0]) == [3.0]


def test_trimmed_mean_by_hand() -> None:
    values = [[-100.0], [1.0], [2.0], [3.0], [100.0]]
    assert combined(rule("trimmed_mean", trim=0.2), *values) == [2.0]
    assert combined(rule("trimmed_mean", trim=0.19), *values) == [pytest.approx(1.2)]  # a fifth of a client is none


def test_krum_keeps_the_update_nearest_to_its_neighbours() -> None:
    values = [[0.0], [1.0], [1.5], [2.0], [50.0]]  # n - f - 2 = 2 neighbours: 1.5 has 0.25 + 0.25
    assert combined(rule("krum", attackers=0.2), *values) == [1.5]
    assert combined(rule("krum", attackers=0.2, keep=2), *values) == [1.25]  # 1 has 0.25 + 1, as has 2
    multi = combined(rule("multi_krum", attackers=0.2), *values, weights=[0.1, 0.2, 0.3, 0.2, 0.2])
    assert multi == [pytest.approx((0.2 * 1 + 0.3 * 1.5 + 0.2 * 2) / 0.8)]  # all but one, by their samples


def test_neighbours_of_equal_vectors() -> None:
    assert nearest(torch.zeros(4, 3, dtype=torch.float64), 1, 2) == [0, 1]


def test_geometric_median_is_where_the_distances_are_least() -> None:
    points = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0], [10.0, 10.0]], dtype=torch.float64)
    weights = [0.4, 0.3, 0.2, 0.1]
    made = rule("geometric_median", iterations=2000)
    found = made.combine([{"w": point} for point in points], weights, {})["w"]

    def cost(at: Tensor) -> float:
        return float((torch.tensor(weights, dtype=torch.float64) * (points - at).norm(dim=1)).sum())

    for step in ([0.05, 0.0], [-0.05, 0.0], [0.0, 0.05], [0.0, -0.05]):
        assert cost(found) <= cost(found + torch.tensor(step, dtype=torch.float64)) + 1e-9


def test_norm_clipping_by_hand() -> None:
    start = {"w": torch.tensor([1.0, 1.0])}
    sent = states([1.0, 3.0], [1.0, 21.0], [0.0, 1.0])
    found = rule("norm_clipping", norm=2).combine(sent, None, start)["w"].tolist()
    assert found == [pytest.approx(2 / 3), pytest.approx((3 + 3 + 1) / 3)]
    by_median = rule("norm_clipping").combine(sent, None, start)["w"].tolist()  # norms 2, 20 and 1
    assert by_median == found


@pytest.mark.parametrize("name", [*RULES, "mean"])
def test_of_equal_updates_it_is_that_update_in_its_type(name: str) -> None:
    sent = [{"w": torch.tensor([1.5, -2.0]), "n": torch.tensor([7])} for _ in range(5)]
    made = rule(name) if name in RULES else Aggregation()
    found = made.combine(sent, [0.2] * 5, {"w": torch.zeros(2), "n": torch.tensor([3])})
    assert {key: (value.dtype, value.tolist()) for key, value in found.items()} == {
        "w": (torch.float32, [pytest.approx(1.5), pytest.approx(-2.0)]),
        "n": (torch.int64, [7]),
    }
    assert all(torch.equal(each["w"], torch.tensor([1.5, -2.0])) for each in sent)


@pytest.mark.parametrize("name", RULES)
def test_a_single_client_is_what_is_left(name: str) -> None:
    assert combined(rule(name), [2.0, -1.0], weights=[1.0]) == [pytest.approx(2.0), pytest.approx(-1.0)]


@pytest.mark.parametrize("name", RULES)
def test_one_of_ten_attackers_does_not_move_it_far(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    honest = [torch.randn(20, generator=generator) * 0.1 + 1 for _ in range(9)]
    sent = [{"w": value} for value in [*honest, torch.full((20,), -1e6)]]
    start = {"w": torch.zeros(20)}
    error = (rule(name).combine(sent, [0.1] * 10, start)["w"] - 1).norm() / 20**0.5
    assert error < 0.5
    assert (Aggregation().combine(sent, [0.1] * 10, start)["w"] - 1).norm() / 20**0.5 > 1e4


@pytest.mark.parametrize(
    ("name", "flower", "options"),
    [
        ("median", "flower_fedmedian", ""),
        ("trimmed_mean", "flower_fedtrimmedavg", "strategy.options={beta: 0.1}"),
        ("krum", "flower_krum", "strategy.options={num_malicious_nodes: 1}"),
        ("multi_krum", "flower_multikrum", "strategy.options={num_malicious_nodes: 1, num_nodes_to_select: 3}"),
    ],
)
def test_fedavg_with_a_rule_is_flowers_strategy_of_that_name(name: str, flower: str, options: str, federate) -> None:  # type: ignore[no-untyped-def]
    ours = federate("strategy=fedavg", f"aggregation={name}").scores
    theirs = federate(f"strategy={flower}", *([options] if options else [])).scores
    assert ours.accuracy.to_numpy() == pytest.approx(theirs.accuracy.to_numpy(), abs=0.02)
    assert ours.loss.to_numpy() == pytest.approx(theirs.loss.to_numpy(), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "key", "value", "accepted"),
    [
        ("trimmed_mean", "trim", 0.5, "a share in [0, 0.5)"),
        ("krum", "attackers", 0.5, "a share in [0, 0.5)"),
        ("krum", "keep", 0, "at least 1, or null"),
        ("geometric_median", "iterations", 0, "at least 1"),
        ("geometric_median", "smoothing", 0, "above 0"),
        ("norm_clipping", "norm", 0, "above 0, or null"),
    ],
)
def test_impossible_values_are_named(name: str, key: str, value: float, accepted: str) -> None:
    with pytest.raises(UserError) as found:
        rule(name, **{key: value})
    assert f"aggregation.{key}=" in str(found.value)
    assert str(found.value).endswith(f"is not possible. Accepted: {accepted}")
