"""What a client sees: which part of its model may leave it, its random streams, and its memory of what trains."""

import torch
from by_hand import numbers
from toys import make_task, three_parameters

from fedpers.algorithm import Algorithm, Task
from fedpers.models.staged import Staged


class KeepsHead(Algorithm):
    def personal_keys(self, model: Staged) -> frozenset[str]:
        return frozenset({"head.weight"})


def task(**changes: object) -> Task:
    return make_task(three_parameters(2.0), KeepsHead(), [[1.0]], [0], **changes)


def test_a_model_is_shared_or_personal() -> None:
    given = task()
    assert set(given.shared()) == {"base.weight"}
    assert set(given.personal()) == {"head.weight"}
    assert given.is_personal("head.weight")
    assert not given.is_personal("base.weight")


def test_what_is_trained_is_what_is_shared_and_kept() -> None:
    given = task()
    given.fit()
    assert numbers(given.shared() | given.personal()) == [2, 1, -1]
    assert numbers(given.initial) == [2, 0, 0]


def test_only_the_named_parameters_are_trained() -> None:
    """A head of (1, -1) gives the scale a gradient."""
    given = make_task(three_parameters(2.0, (1.0, -1.0)), KeepsHead(), [[1.0]], [0])
    given.fit(parameters=[given.model.get_parameter("base.weight")])
    assert given.model.tensors()["head.weight"].flatten().tolist() == [1, -1]
    assert given.model.tensors()["base.weight"].item() > 2


def test_every_purpose_and_round_has_a_stream_of_its_own() -> None:
    def drawn(purpose: str, **changes: object) -> list[float]:
        return torch.rand(3, generator=task(**changes).generator(purpose)).tolist()

    assert drawn("train") == drawn("train")
    assert drawn("train") != drawn("noise")
    assert drawn("train") != drawn("train", round=2)
    assert drawn("train") != drawn("train", seed=1)
