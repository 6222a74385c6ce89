"""What lay elsewhere in an earlier version is found."""

import pkgutil

import pytest

from fedpers.config.build import build, resolve
from fedpers.config.moved import MOVED, current
from fedpers.data.partitions.label_skew import Dirichlet
from fedpers.errors import UserError

KEYS = {"num_clients": 4, "min_samples": 3, "max_samples": None, "alpha": 0.5, "balanced": True}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fedpers.data.skew", "fedpers.data.partitions.label_skew"),
        ("fedpers.data.skew.Dirichlet", "fedpers.data.partitions.label_skew.Dirichlet"),
    ],
)
def test_a_class_that_has_moved_is_found_by_its_old_path(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    path = "fedpers.data.skew.Dirichlet"
    with pytest.raises(UserError, match="no module"):
        resolve(path, "key")
    monkeypatch.setitem(MOVED, old, new)
    assert resolve(path, "key") is Dirichlet
    assert build({"_target_": path, **KEYS}, "partition") == Dirichlet(4, 3, None, 0.5, True)
    with pytest.raises(UserError, match=r"no module 'fedpers\.data\.skewed'"):  # only the beginning of a name
        resolve("fedpers.data.skewed.Dirichlet", "key")


def test_what_has_moved_is_no_way_around_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MOVED, "fedpers.data.skew", "os")
    with pytest.raises(UserError, match="not allowed"):
        resolve("fedpers.data.skew.system", "key")


def test_everything_that_has_moved_has_gone_where_it_is_said_to_be() -> None:
    for new in MOVED.values():
        assert pkgutil.resolve_name(new)
    for old in ("fedpers.data.label_skew.Dirichlet", "fedpers.engines.ray.RayEngine", "fedpers.data.mnist.mnist"):
        found = resolve(old, "key")
        assert f"{found.__module__}.{found.__name__}" == current(old) != old
        assert current(current(old)) == current(old)
