"""The contract's defaults: plain averaging by hand, who is sampled, and what an algorithm need not say."""

import dataclasses

import pytest
import torch
from by_hand import Half, federation, numbers
from toys import make_task, three_parameters

from fedpers.algorithm import Algorithm, Average, Federation, Sent, Server, ServerState, kind_of, weights_of
from fedpers.config.keys import Config
from fedpers.errors import UserError


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("head.weight", "weights"),
        ("prototypes/mean", "prototypes"),
        ("weights/left/head.weight", "weights"),
        ("control/server/w", "control"),
    ],
)
def test_kind_of_what_travels(key: str, kind: str) -> None:
    assert kind_of(key) == kind


def test_weights_are_what_has_no_prefix() -> None:
    travels = {"head.weight": torch.zeros(1), "weights/left/head.weight": torch.zeros(1), "labels/count": torch.ones(1)}
    assert list(weights_of(travels)) == ["head.weight"]


SENT = {0: {"w": torch.tensor([1.0]), "labels/n": torch.tensor(8.0)}, 1: {"w": torch.tensor([5.0])}}


def test_average_by_hand() -> None:
    half = Half(Average(federation(num_clients=2, initial={"w": torch.tensor([9.0])})))
    assert half.state.shared["w"].tolist() == [9]  # what clients are sent in the first round
    sent = {client: weights_of(tensors) for client, tensors in SENT.items()}
    assert half.aggregate(1, sent, {0: 1, 1: 3})["w"].tolist() == [4.0]  # 1/4 of 1 and 3/4 of 5
    assert half.aggregate(2, {1: sent[1]}, {1: 3})["w"].tolist() == [5]  # the average has no memory
    assert half.diagnostics == {}


def test_a_part_is_averaged_by_itself() -> None:
    sent = {client: Sent(tensors, size) for (client, tensors), size in zip(SENT.items(), (1, 3), strict=True)}
    average = federation(num_clients=2).average
    assert {key: w.tolist() for key, w in average(1, sent, {}, weights_of).items()} == {"w": [4.0]}
    assert {key: w.tolist() for key, w in average(1, sent, {}, weights_of, plain=True).items()} == {"w": [3.0]}


def test_a_step_spares_the_old_state() -> None:
    server = Average(federation(initial={"w": torch.tensor([9.0])}))
    before = server.init()
    sent = {0: Sent({"w": torch.tensor([1.0])}, 2)}
    after = server.aggregate(before, 1, sent).state
    assert before.shared["w"].tolist() == [9]
    after.shared["w"].add_(1)
    assert sent[0].tensors["w"].tolist() == [1]  # nor is what a client sent kept


def test_a_server_half_says_nothing_of_its_own() -> None:
    server, state = Server[ServerState](federation()), ServerState({})
    assert server.send_to(state, 0, 1, "train") == server.send_to(state, 0, 1, "score") == {}
    assert server.evaluated(state, 1, 0.5) is state
    for step in (server.init, lambda: server.aggregate(state, 1, {})):
        with pytest.raises(NotImplementedError):
            step()


@dataclasses.dataclass(frozen=True)
class Plain(Algorithm):
    rate: float = 2.0


def test_the_defaults_are_those_of_fedavg() -> None:
    """x = 1 with label 0, scale 2, head (0, 0), lr 1: the head's step leads to (1, -1)."""
    algorithm, model = Plain(), three_parameters(2.0)
    assert algorithm.personal_keys(model) == frozenset()
    assert (algorithm.sends, algorithm.receives, algorithm.needs(Config())) == (("weights",), ("weights",), {})
    algorithm.check(model, Config())
    assert isinstance(algorithm.server(federation()), Average)
    task = make_task(model, algorithm, [[1.0]], [0])
    update = algorithm.train(task)
    assert numbers(update.send) == pytest.approx([2, 1, -1])
    assert update.keep == {}
    assert update.metrics == {"loss": pytest.approx(0.6931472)}
    assert algorithm.personalize(task) is task.model


def test_a_condition_that_does_not_hold_names_its_key() -> None:
    Plain().require("rate", True, "at least 0")
    with pytest.raises(UserError, match=r"^strategy\.rate=-2\.0 is not possible\. Accepted: at least 0$"):
        Plain(-2.0).require("rate", False, "at least 0")


def test_models_of_several_architectures_cannot_be_mixed() -> None:
    settings = Config(choices={"strategy": "plain"})
    for model in ({}, {"mixture": [{}]}):
        Plain().require_one_architecture(dataclasses.replace(settings, model=model))
    with pytest.raises(UserError, match="strategy=plain mixes clients' weights"):
        Plain().require_one_architecture(dataclasses.replace(settings, model={"mixture": [{}, {}]}))


def sampling(**changes: object) -> Federation:
    return federation(Config(**{"participation": 0.25, **changes}), num_clients=20)  # type: ignore[arg-type]


def test_sampled_clients_are_drawn_by_seed_and_round() -> None:
    rounds = [sampling().sample(round) for round in range(1, 41)]
    for clients in rounds:
        assert len(set(clients)) == 5
        assert clients == sorted(clients)
    assert {client for clients in rounds for client in clients} == set(range(20))
    assert len({tuple(clients) for clients in rounds}) > 35
    assert rounds == [sampling().sample(round) for round in range(1, 41)]  # asking changes nothing
    assert rounds != [sampling(seed=1).sample(round) for round in range(1, 41)]


def test_all_clients_are_sampled_at_full_participation() -> None:
    assert sampling(participation=1.0).sample(3) == list(range(20))


def test_unseen_clients_are_never_sampled() -> None:
    some = sampling(unseen=0.5)
    unseen = some.config.unseen_clients(20)
    assert len(unseen) == 10
    rounds = [some.sample(round) for round in range(1, 31)]
    assert {client for clients in rounds for client in clients} == set(range(20)) - unseen
    assert {len(clients) for clients in rounds} == {2}  # a quarter of ten
