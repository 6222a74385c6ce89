"""State taken apart and put together: nothing is lost on the way through safetensors and JSON."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from fedpers.algorithm import ServerState, State
from fedpers.state import put_together, take_apart


@dataclass(frozen=True)
class Inner:
    q: Tensor
    round: int


@dataclass(frozen=True)
class Progress:
    best: float = -math.inf
    name: str = "none yet"
    over: bool = False


@dataclass(frozen=True)
class Full(ServerState):
    by_client: dict[int, Inner]
    heads: dict[int, dict[int, State]]
    progress: Progress
    gains: dict[str, float]
    rows: list[Tensor]
    pair: tuple[int, str]
    cuts: tuple[int, ...]
    last: Inner | None = None
    first: Tensor | None = None
    limit: float | None = field(default=0.5)


def full() -> Full:
    return Full(
        shared={"base.weight": torch.tensor([1.0]), "n": torch.tensor(7)},
        by_client={3: Inner(torch.rand(2, 2), 5), 12: Inner(torch.zeros(0, 4), 1)},
        heads={2: {-1: {"w": torch.ones(2).half()}}, 1: {}},
        progress=Progress(),
        gains={"a/b": 0.1, "nan": math.nan, "": math.inf},
        rows=[torch.tensor(True), torch.arange(3)],
        pair=(4, "x"),
        cuts=(3, 2, 1),
        last=Inner(torch.tensor(2.0), 9),
        limit=None,
    )


def there_and_back(state: Any) -> Any:
    """Take a state apart, put both parts into files' bytes, and put together what is read from these."""
    tensors, plain = take_apart(state)
    return put_together(type(state), load(save(tensors)), json.loads(json.dumps(plain)))


def same(a: Any, b: Any) -> bool:
    """Tell whether two states are alike to the type and the bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return same(vars(a), vars(b))
    return bool(a == b) or (a != a and b != b)


def test_nothing_is_lost_on_the_way() -> None:
    state = full()
    back = there_and_back(state)
    assert same(state, back)
    assert [type(key) for key in back.by_client] == [int, int]
    assert back.heads[2][-1]["w"].dtype == torch.float16
    assert back.progress.best == -math.inf
    assert back.limit is None
    assert back.first is None


def test_the_comparison_can_fail() -> None:
    assert not same(full(), full())  # two random tensors
    assert not same({1: 2}, {"1": 2})
    assert not same(1, 1.0)


def test_parts_by_hand() -> None:
    state = Full({"w": torch.tensor([1.0])}, {3: Inner(torch.tensor(2.0), 5)}, {}, Progress(), {}, [], (1, "a"), ())
    tensors, plain = take_apart(state)
    assert {path: tensor.tolist() for path, tensor in tensors.items()} == {"shared|w": [1.0], "by_client|3|q": 2.0}
    assert plain["shared"] == [["w", {"tensor": "shared|w"}]]
    assert plain["by_client"] == [[3, {"q": {"tensor": "by_client|3|q"}, "round": 5}]]
    assert plain["pair"] == [1, "a"]
    assert plain["last"] is None
    assert tensors["shared|w"] is state.shared["w"]  # taking apart copies nothing


def test_order_of_clients_is_kept() -> None:
    """Sums of floating-point numbers depend on it."""
    state = ServerState({"b": torch.tensor(1.0), "a": torch.tensor(2.0)})
    assert list(there_and_back(state).shared) == ["b", "a"]


@dataclass(frozen=True)
class Anything(ServerState):
    memory: Any


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        (torch.nn.Linear(1, 1), r"^memory is a Linear, which no file can hold"),
        ({"a": [0, {5: {1, 2}}]}, r"^memory\|a\|1\|5 is a set, which no file can hold"),
        ({4: Progress(name=object())}, r"^memory\|4\|name is a object"),  # type: ignore[arg-type]
        ({"a": {(1, 2): 3}}, r"^memory\|a has a key of type tuple; names and whole numbers can be kept"),
        ({True: 1}, r"^memory has a key of type bool"),
        (Progress, r"^memory is a type"),
        (torch.Generator(), r"^memory is a Generator"),
    ],
)
def test_what_cannot_be_kept_is_named_by_its_path(memory: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        take_apart(Anything({}, memory))


def test_a_state_that_is_none_is_named() -> None:
    with pytest.raises(TypeError, match="the state is a object"):
        take_apart(object())
