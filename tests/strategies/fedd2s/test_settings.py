"""FedD2S' hyper-parameters: the schedule they set, and what they refuse."""

import dataclasses

import pytest
from fedd2s_toys import KNOWLEDGE, make
from toys import three_parameters

from fedpers.errors import UserError


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dropping_interval": 2}, [3, 3, 2, 2, 1, 1, 1, 1]),  # all cuts of a four-stage model
        ({"dropping_interval": None}, [3, 3, 3, 2, 2, 2, 1, 1]),  # 8 rounds over 3 cuts
        ({"dropping_interval": 1, "dropping_set": [2, 1]}, [2, 1, 1, 1, 1, 1, 1, 1]),
        ({"dropping_interval": 3, "dropping_set": [1, 3]}, [1, 1, 1, 3, 3, 3, 3, 3]),
        ({"dropping": "none"}, [3] * 8),
    ],
)
def test_dropping_schedule(changes: dict, expected: list[int]) -> None:
    algorithm = make(**changes)
    assert [algorithm.active_cut(round, num_rounds=8, num_stages=4) for round in range(1, 9)] == expected


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": 0.0},
        {"lambda_ce": -1.0},
        {"server_epochs": 0},
        {"dropping_set": []},
        {"dropping_interval": 0},
        {"kl_on": "nothing"},
        {"knowledge": "weights"},
        {"wire": "int8"},
        {"knowledge_noise": -1.0},
        {"projection": 0},
        {"head_hidden": -1},
        {"patience": 0},
    ],
)
def test_impossible_values_are_named(bad: dict) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{next(iter(bad))}"):
        make(**bad)


def test_adaptive_dropping_needs_validation(federate) -> None:
    with pytest.raises(UserError, match="needs validation samples"):
        federate(*KNOWLEDGE, "strategy.dropping=adaptive", "splits=[0.75,0,0.25]")


def test_adaptive_dropping_says_what_it_needs(config) -> None:
    adaptive = make(dropping="adaptive")
    without = config("splits=[0.75,0,0.25]")
    assert make().needs(without) == adaptive.needs(config()) == {}
    adaptive.check(three_parameters(), dataclasses.replace(without, **adaptive.needs(without)))


def test_a_head_has_the_width_of_its_cut() -> None:
    assert [make(head_hidden=[5, 0, 7]).hidden_width(cut, 4) for cut in (3, 2, 1)] == [5, 0, 7]
    assert make(head_hidden=9).hidden_width(2, 4) == 9


def test_heads_are_of_use_where_they_have_a_term_in_the_loss() -> None:
    assert make(lambda_ce=1.0, lambda_kl=0.0).uses_head
    assert make(lambda_ce=0.0, lambda_kl=1.0, kl_on="head").uses_head
    assert not make(lambda_ce=0.0, lambda_kl=1.0, kl_on="model").uses_head
    assert not make(lambda_ce=0.0, lambda_kl=0.0, kl_on="head").uses_head
