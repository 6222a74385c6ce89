"""Building objects from a configuration: the target's signature is the schema."""

import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from fedpers.config.build import build, coerce, resolve
from fedpers.data.partitions.label_skew import Dirichlet
from fedpers.errors import UserError

PLUGIN = """
from collections.abc import Sequence
from typing import Any, Literal

CONSTANT = 3


def network(
    shape,
    *,
    size: int,
    rate: float = 0.5,
    widths: tuple[int, ...] = (),
    mode: Literal["a", "b"] = "a",
    cap: int | None = None,
    flag: bool = False,
    options: dict[str, float] = {},
    names: Sequence[str] = (),
):
    return dict(locals())


def open_ended(size: int, *rest, **options):
    return size, rest, options


class Thing:
    def __init__(self, size: int) -> None:
        self.size = size
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a user's module `own_plugin` importable."""
    (tmp_path / "own_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_plugin", raising=False)
    return "own_plugin"


def dirichlet(**changes: Any) -> dict[str, Any]:
    values = {"num_clients": 4, "min_samples": 3, "max_samples": None, "alpha": 0.5, "balanced": True}
    return {"_target_": "fedpers.data.partitions.label_skew.Dirichlet"} | values | changes


def message(spec: dict[str, Any], group: str = "partition", **kwargs: Any) -> str:
    with pytest.raises(UserError) as caught:
        build(spec, group, **kwargs)
    return str(caught.value)


def test_builds_what_the_specification_names() -> None:
    assert build(dirichlet(), "partition") == Dirichlet(4, 3, None, 0.5, True)


def test_specification_stays_as_it_was() -> None:
    spec = dirichlet()
    build(spec, "partition")
    assert spec == dirichlet()


def test_unknown_key_names_the_nearest() -> None:
    text = message(dirichlet(alhpa=0.1))
    assert "partition.alhpa" in text
    assert "Did you mean 'alpha'?" in text
    assert "Accepted: alpha, balanced, max_samples, min_samples, num_clients" in text


def test_unknown_key_without_a_near_name() -> None:
    text = message(dirichlet(zzz=1))
    assert "partition.zzz" in text
    assert "Did you mean" not in text


def test_missing_key() -> None:
    spec = dirichlet()
    del spec["alpha"]
    assert message(spec).startswith("partition.alpha is missing")


def test_missing_target() -> None:
    assert "partition=NAME" in message({"alpha": 1.0})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"num_clients": "many"},
            "partition.num_clients='many' has the wrong type. Accepted: a whole number",
        ),
        ({"num_clients": 4.0}, "partition.num_clients=4.0 has the wrong type. Accepted: a whole number"),
        ({"num_clients": True}, "partition.num_clients=True has the wrong type. Accepted: a whole number"),
        ({"num_clients": None}, "partition.num_clients=None has the wrong type. Accepted: a whole number"),
        ({"alpha": "0.3"}, "partition.alpha='0.3' has the wrong type. Accepted: a number"),
        ({"alpha": True}, "partition.alpha=True has the wrong type. Accepted: a number"),
        ({"alpha": [0.3]}, "partition.alpha=[0.3] has the wrong type. Accepted: a number"),
        (
            {"max_samples": "all"},
            "partition.max_samples='all' has the wrong type. Accepted: a whole number or null",
        ),
        (
            {"max_samples": False},
            "partition.max_samples=False has the wrong type. Accepted: a whole number or null",
        ),
    ],
)
def test_wrong_type(changes: dict[str, Any], expected: str) -> None:
    assert message(dirichlet(**changes)) == expected


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, float, 3.0),
        (2.5, float, 2.5),
        (3, int, 3),
        (True, bool, True),
        ("x", str, "x"),
        (None, int | None, None),
        (5, int | None, 5),
        ("b", Literal["a", "b"], "b"),
        ([1, 2], tuple[int, ...], (1, 2)),
        ((1, 2), list[int], [1, 2]),
        ([], tuple[int, ...], ()),
        ([1, 2], tuple[float, ...], (1.0, 2.0)),
        ([[1], [2, 3]], tuple[tuple[int, ...], ...], ((1,), (2, 3))),
        ({"x": 1}, Any, {"x": 1}),
        ({"x": 1}, dict, {"x": 1}),
        ({"x": 1.5}, dict[str, float], {"x": 1.5}),
    ],
)
def test_coerce(value: Any, hint: Any, expected: Any) -> None:
    found = coerce(value, hint, "key")
    assert found == expected
    assert type(found) is type(expected)
    if isinstance(found, tuple | list):
        assert [type(item) for item in found] == [type(item) for item in expected]


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ([1, "x"], tuple[int, ...], "key[1]='x' has the wrong type. Accepted: a whole number"),
        ([1, True], tuple[int, ...], "key[1]=True has the wrong type. Accepted: a whole number"),
        ("123", tuple[int, ...], "key='123' has the wrong type. Accepted: a list of a whole number"),
        (3, tuple[str, ...], "key=3 has the wrong type. Accepted: a list of text"),
        ("c", Literal["a", "b"], "key='c' has the wrong type. Accepted: a, b"),
        (1, bool, "key=1 has the wrong type. Accepted: true or false"),
        (0, type(None), "key=0 has the wrong type. Accepted: null"),
        (3, str, "key=3 has the wrong type. Accepted: text"),
    ],
)
def test_coerce_refuses(value: Any, hint: Any, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        coerce(value, hint, "key")
    assert str(caught.value) == expected


def test_coerce_refuses_a_list_for_a_mapping() -> None:
    with pytest.raises(UserError, match=r"key=\[1\] has the wrong type"):
        coerce([1], dict[str, float], "key")


# targets


def test_forbidden_target_is_not_called(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    text = message({"_target_": "os.system", "command": f"touch {marker}"}, "model")
    assert "model._target_='os.system' is not allowed" in text
    assert "fedpers" in text
    assert "plugins=" in text
    assert not marker.exists()


@pytest.mark.parametrize(
    "path",
    ["builtins.eval", "eval", "fedpers", "fedpersonal.models.cnn", "", "os.fedpers.system", ".fedpers.x"],
)
def test_only_names_under_allowed_modules(path: str) -> None:
    with pytest.raises(UserError, match="is not allowed"):
        resolve(path, "model._target_")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("fedpers.models.cnnn.cnn", "no module 'fedpers.models.cnnn'"),
        ("fedpers.models.cnn.ccn", "module 'fedpers.models.cnn' has no 'ccn'"),
        ("fedpers.data.images.hashlib", "cannot be called"),
        ("fedpers.data.images.hashlib.new", "no module 'fedpers.data.images.hashlib'"),
    ],
)
def test_target_that_does_not_exist(path: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(path, "model._target_")
    assert f"model._target_={path!r}" in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize("target", [3, None, ["fedpers.models.cnn.cnn"]])
def test_target_that_is_no_text(target: Any) -> None:
    assert "model._target_" in message({"_target_": target}, "model")


@pytest.mark.parametrize("path", ["fedpers.config.build.build", "fedpers.data.shards.build"])
@pytest.mark.parametrize("more", [{}, {"extra": {}}])
def test_nested_building_is_no_way_round(tmp_path: Path, path: str, more: dict[str, Any]) -> None:
    marker = tmp_path / "marker"
    inner = {"_target_": "os.mkdir", "path": str(marker), "mode": 511, "dir_fd": None}
    with pytest.raises(UserError):
        build({"_target_": path, "spec": inner, "group": "g", "plugins": ["os"]} | more, "model")
    assert not marker.exists()


# plugins


def test_plugin_has_to_be_named(plugin: str) -> None:
    spec = {"_target_": "own_plugin.Thing", "size": 4}
    assert "'own_plugin.Thing' is not allowed" in message(spec, "model")
    assert plugin not in sys.modules  # not even imported
    assert build(spec, "model", plugins=[plugin]).size == 4


def test_plugin_that_does_not_exist() -> None:
    text = message({"_target_": "no_such_module.Thing"}, "model", plugins=["no_such_module"])
    assert "no module 'no_such_module'" in text


def test_plugin_constant_cannot_be_called(plugin: str) -> None:
    assert "cannot be called" in message({"_target_": "own_plugin.CONSTANT"}, "model", plugins=[plugin])


def test_defaults_and_conversions(plugin: str) -> None:
    spec = {"_target_": "own_plugin.network", "size": 1, "rate": 2, "widths": [3, 4], "mode": "b"}
    found = build(spec, "model", plugins=[plugin], shape=(1, 8, 8), num_classes=10)
    assert found == {
        "shape": (1, 8, 8),  # from the caller, who offers more than the target takes
        "size": 1,
        "rate": 2.0,
        "widths": (3, 4),
        "mode": "b",
        "cap": None,
        "flag": False,
        "options": {},
        "names": (),
    }
    assert type(found["rate"]) is float
    assert type(found["widths"]) is tuple


def test_arguments_of_the_caller_are_no_keys(plugin: str) -> None:
    spec = {"_target_": "own_plugin.network", "size": 1, "shape": [3, 3, 3]}
    text = message(spec, "model", plugins=[plugin], shape=(1, 8, 8))
    assert "model.shape" in text
    assert "shape" not in text.partition("Accepted: ")[2]


def test_open_ended_arguments_are_no_keys(plugin: str) -> None:
    spec = {"_target_": "own_plugin.open_ended", "size": 1}
    assert build(spec, "model", plugins=[plugin]) == (1, (), {})
    assert "model.speed" in message(spec | {"speed": 3}, "model", plugins=[plugin])


def test_generic_annotations(plugin: str) -> None:
    spec = {"_target_": "own_plugin.network", "size": 1, "options": {"x": 1.0}, "names": ["y"]}
    found = build(spec, "model", plugins=[plugin], shape=())
    assert (found["options"], list(found["names"])) == ({"x": 1.0}, ["y"])


# what has moved
