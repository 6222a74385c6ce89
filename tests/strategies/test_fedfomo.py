"""FedFomo: a client's mixture and the server's choice by hand, Local as its limit."""

import dataclasses
import math

import pytest
import torch
from by_hand import Half, federation, from_yaml, numbers, sigmoid
from federations import metric_files, personal
from toys import make_task, three_parameters

from fedpers.algorithm import Task
from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.training import Split
from strategies.fedfomo import CLIENTS, GAINS, MODEL, FedFomo

FEW = ["participation=0.5", "partition.max_samples=16", "partition.min_samples=3", "unseen=0.25"]
# x = 1 with label 0, one's own scale 2 and head (0, 0): the loss is log 2; with head (a, -a) it is log(1 + exp(-4 a)).


def fomo(downloads: int = 5, epsilon: float = 0.3) -> FedFomo:
    return FedFomo(downloads=downloads, epsilon=epsilon)


def given(heads: dict[int, float], scale: float = 2.0) -> Task:
    """A task with others' models of heads (a, -a)."""
    received = {
        CLIENTS: torch.tensor(list(heads)),
        MODEL + "base.weight": torch.full((len(heads), 1), scale),
        MODEL + "head.weight": torch.tensor([[[a], [-a]] for a in heads.values()]),
    }
    return make_task(three_parameters(2.0), fomo(), [[1.0]], [0], received=received)


def gain(a: float) -> float:
    """The loss that a head (a, -a) saves, by distance."""
    return (math.log(2) - math.log1p(math.exp(-4 * a))) / (math.sqrt(2) * abs(a))


def test_a_round_by_hand() -> None:
    """Client 3's model is better, client 1's worse: one moves to 3's, (2, 1, -1), and from there by a step."""
    update = fomo().train(given({3: 1.0, 1: -1.0}))
    r = 1 - sigmoid(4)
    assert numbers(update.keep) == pytest.approx([2 + 2 * r, 1 + 2 * r, -1 - 2 * r])
    assert numbers(update.send, MODEL) == numbers(update.keep)
    assert update.send[CLIENTS].tolist() == [3, 1]
    assert update.send[GAINS].tolist() == pytest.approx([gain(1), gain(-1)])
    assert gain(-1) < 0
    assert update.metrics["loss"] == pytest.approx(-math.log(sigmoid(4)), abs=1e-6)


def test_better_models_count_by_their_gain() -> None:
    task = given({1: 1.0, 2: 3.0, 4: -1.0})
    fomo().mix(task)
    a = (gain(1) * 1 + gain(3) * 3) / (gain(1) + gain(3))
    assert numbers(task.model.tensors()) == pytest.approx([2, a, -a])


@pytest.mark.parametrize("heads", [{4: -1.0}, {4: 0.0}, {4: math.nan, 5: -2.0}])
def test_nothing_better_changes_nothing(heads: dict[int, float]) -> None:
    task = given(heads)
    gains = fomo().mix(task)
    assert numbers(task.model.tensors()) == [2, 0, 0]
    assert all(math.isfinite(g) and g <= 0 for g in gains.values())


def test_a_broken_model_does_not_spread() -> None:
    task = given({4: math.nan, 5: 1.0})
    assert fomo().mix(task)[4] == 0
    assert numbers(task.model.tensors()) == pytest.approx([2, 1, -1])


def test_validation_samples_judge_if_there_are_any() -> None:
    """Validation says label 1, training label 0."""
    task = given({4: 1.0})
    task.data.__dict__["val"] = Split(torch.tensor([[1.0]]), torch.tensor([1]))
    assert fomo().mix(task)[4] < 0
    task.data.__dict__["val"] = Split(torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64))
    assert fomo().mix(task)[4] == pytest.approx(gain(1))


def server(rule: FedFomo, seed: int = 0) -> Half:
    """A server that has heard of clients 0 to 4, client 0 having tried three of them."""
    half = Half(rule.server(federation(Config(seed=seed), num_clients=6)))
    assert half.send_to(0, 1) == {}
    none = {CLIENTS: torch.zeros(0, dtype=torch.int64), GAINS: torch.zeros(0)}
    half.aggregate(1, {client: none | {MODEL + "w": torch.tensor([float(client)])} for client in range(5)})
    tried = {CLIENTS: torch.tensor([1, 2, 3]), GAINS: torch.tensor([-2.0, 0.5, 2.0])}
    half.aggregate(2, {0: tried | {MODEL + "w": torch.tensor([10.0])}})
    return half


def choose(half: Half, client: int, round: int) -> list[int]:
    """Return whose models a client is sent, in their order."""
    chosen = half.send_to(client, round)[CLIENTS].tolist()
    assert chosen == half.server.choose(half.state, client, round)
    return chosen


def test_server_sends_what_was_worth_most() -> None:
    half = server(fomo(2, 0.0))
    assert {key: w.tolist() for key, w in half.send_to(0, 3).items()} == {CLIENTS: [3, 2], MODEL + "w": [[3], [2]]}
    again = {CLIENTS: torch.tensor([3]), GAINS: torch.tensor([-1.75])}  # gains add up: 2 - 1.75 < 0.5
    half.aggregate(3, {0: again | {MODEL + "w": torch.tensor([11.0])}})
    assert choose(half, 0, 4) == [2, 3]
    assert choose(server(fomo(9, 0.0)), 0, 3) == [3, 2, 4, 1]  # the untried before what did harm
    assert set(half.send_to(4, 4)[MODEL + "w"].flatten().tolist()) <= {
        11.0,
        1.0,
        2.0,
        3.0,
    }  # last models, not one's own


def test_choice_is_drawn_by_seed_round_and_client() -> None:
    half = server(fomo(2, 1.0))
    drawn = [tuple(choose(half, client, round)) for client in (1, 2, 5) for round in range(20)]
    again, other = server(fomo(2, 1.0)), server(fomo(2, 1.0), seed=1)
    assert drawn == [tuple(choose(again, client, round)) for client in (1, 2, 5) for round in range(20)]
    assert drawn != [tuple(choose(other, client, round)) for client in (1, 2, 5) for round in range(20)]
    assert len(set(drawn)) > 10
    assert all(len(set(pair)) == 2 for pair in drawn)
    assert {tuple(choose(half, 0, round)) for round in range(20)} > {(3, 2)}  # a large epsilon forgets worth
    untried = {choose(server(fomo(1, 0.0)), 5, round)[0] for round in range(40)}
    assert untried == {0, 1, 2, 3, 4}  # equals in random order


def test_without_downloads_is_local(federate) -> None:
    alone = federate("strategy=local", "participation=0.5")
    none = federate("strategy=fedfomo", "strategy.downloads=0", "participation=0.5")
    assert none.scores.equals(alone.scores)
    assert set(none.traffic.kind) == set(alone.traffic.kind)
    assert not federate("strategy=fedfomo", "participation=0.5").scores.equals(alone.scores)


def test_same_bits_twice_with_very_few_samples(federate) -> None:
    few = ["strategy=fedfomo", "splits=[0.5,0,0.5]", *FEW]
    run = federate(*few)
    assert metric_files(federate(*few)) == metric_files(run)
    assert personal(run).loss.notna().all()


def test_models_of_several_architectures_are_refused(config) -> None:
    with pytest.raises(UserError, match="mixes clients' weights"):
        fomo().check(three_parameters(), dataclasses.replace(config(), model={"mixture": [{}, {}]}))


@pytest.mark.parametrize(("key", "value"), [("downloads", -1), ("epsilon", 1.5), ("epsilon", -0.5)])
def test_impossible_value_is_named(key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml("fedfomo", **{key: value})
