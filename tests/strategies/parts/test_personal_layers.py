"""Stages that stay: the keys they stand for, and their names checked."""

import pytest
from toys import make_task, three_parameters

from fedpers.config.keys import Config
from fedpers.errors import UserError
from strategies.parts.personal_layers import PersonalLayers, all_keys, keys_of


def test_keys_of_stages() -> None:
    model = three_parameters()
    assert keys_of(model, ["head"]) == {"head.weight"}
    assert keys_of(model, []) == frozenset()
    assert all_keys(model) == {"base.weight", "head.weight"}


def test_personal_stages_stay_and_the_others_leave() -> None:
    """Scale 2, head (0, 0), x = 1 with label 0: the head's step leads to (1, -1), the scale does not move."""
    algorithm = PersonalLayers(personal=("head",))
    update = algorithm.train(make_task(three_parameters(2.0), algorithm, [[1.0]], [0]))
    assert {key: w.tolist() for key, w in update.send.items()} == {"base.weight": [2]}
    assert {key: w.flatten().tolist() for key, w in update.keep.items()} == {"head.weight": [1, -1]}


def test_an_unknown_stage_is_named() -> None:
    PersonalLayers(personal=("base",)).check(three_parameters(), Config())
    with pytest.raises(UserError, match=r"strategy\.personal.*'tail'"):
        PersonalLayers(personal=("tail",)).check(three_parameters(), Config())
