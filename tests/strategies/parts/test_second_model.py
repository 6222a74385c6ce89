"""A personal model in a client's memory, beside the shared one."""

import torch
from by_hand import numbers, own
from toys import make_task, three_parameters

from fedpers.algorithm import Task
from strategies.parts.second_model import SecondModel, second, store, stored


def task(**changes: object) -> Task:
    return make_task(three_parameters(2.0), SecondModel(), [[1.0]], [0], **changes)


def test_there_and_back() -> None:
    kept = store(dict(three_parameters(3.0, (1.0, -1.0)).named_parameters())) | {"count": torch.ones(1)}
    assert numbers(stored(kept)) == [3, 1, -1]
    assert set(stored(kept)) == {"base.weight", "head.weight"}
    assert not any(tensor.requires_grad for tensor in kept.values())


def test_it_starts_from_the_initial_weights_and_goes_on_from_memory() -> None:
    parameters, buffers = second(task())
    assert numbers(parameters) == [2, 0, 0]
    assert buffers == {}
    again, _ = second(task(state=own(5.0, 1.0, -1.0)))
    assert numbers(again) == [5, 1, -1]
    assert all(w.requires_grad and w.is_leaf for w in again.values())


def test_training_it_changes_neither_memory_nor_the_initial_weights() -> None:
    for given in (task(), task(state=own(5.0, 1.0, -1.0))):
        parameters, _ = second(given)
        with torch.no_grad():
            for w in parameters.values():
                w.add_(1)
        assert numbers(given.initial) == [2, 0, 0]
        if given.state:
            assert numbers(stored(given.state)) == [5, 1, -1]


def test_a_client_is_scored_by_its_own_model_once_it_has_one() -> None:
    assert numbers(SecondModel().personalize(task(state=own(5.0, 1.0, -1.0))).tensors()) == [5, 1, -1]
    assert numbers(SecondModel().personalize(task()).tensors()) == [2, 0, 0]
