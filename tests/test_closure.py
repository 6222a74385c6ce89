"""What a hash of code sees: every file that something rests on, and nothing of how it is written."""

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from fedpers import closure
from fedpers.closure import code_sha256
from fedpers.data.datasets import digits

MINE = '''
"""A plugin."""

from mine.helper import RATE, halve as half
from . import other


class Mine:
    """Train."""

    def train(self):
        from mine.late import late

        return half(RATE) + late() + other.three()
'''
HELPER = '"""Helps."""\n\nimport math\n\nRATE = 0.5\n\n\ndef halve(x):\n    return x / 2 + math.pi\n'
FILES = {
    "mine/__init__.py": "",
    "mine/algorithm.py": MINE,
    "mine/helper.py": HELPER,
    "mine/late.py": "def late():\n    return 1\n",
    "mine/other.py": "from beside import two\n\n\ndef three():\n    return two() + 1\n",
    "mine/unrelated.py": "x = 1\n",
    "beside.py": "def two():\n    return 2\n",
}
TARGET = "mine.algorithm.Mine"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin of several files, importable and never imported."""
    return make(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def _forget_the_plugin() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mine", "beside")]:
        del sys.modules[name]


def make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        write(folder / name, text)
    monkeypatch.syspath_prepend(str(folder))
    return folder


_time = [1]


def write(path: Path, text: str) -> None:
    """Write a file whose time is another one each time, however fast the tests are."""
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    _time[0] += 1
    os.utime(path, ns=(_time[0] * 10**9, _time[0] * 10**9))


def edited(path: Path, old: str, new: str) -> str | None:
    text = path.read_text()
    assert old in text
    write(path, text.replace(old, new))
    return code_sha256([TARGET])


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("mine/algorithm.py", "half(RATE) +", "half(RATE) -"),
        ("mine/algorithm.py", "halve as half", "halve_slowly as half"),
        ("mine/helper.py", "x / 2", "x / 3"),
        ("mine/helper.py", "RATE = 0.5", "RATE = 0.25"),
        ("mine/helper.py", "import math", "import cmath as math"),
        ("mine/late.py", "return 1", "return 0"),
        ("mine/other.py", "+ 1", "+ 2"),
        ("beside.py", "return 2", "return 4"),
        ("mine/__init__.py", "", "import mine.unrelated"),
    ],
)
def test_a_change_of_any_file_that_is_imported_counts(folder: Path, name: str, old: str, new: str) -> None:
    before = code_sha256([TARGET])
    assert before is not None
    assert before == code_sha256([TARGET])
    assert edited(folder / name, old, new) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("mine/unrelated.py", "x = 1", "x = 2"),
        ("mine/algorithm.py", '"""A plugin."""', '"""My plugin."""\n# it is the best\n\n'),
        ("mine/algorithm.py", '    """Train."""\n', ""),
        ("mine/helper.py", "RATE = 0.5", "RATE = (0.5)\n'''The rate.'''"),
        ("mine/late.py", "def late():\n", 'def late():\n    """Return one."""\n'),
    ],
)
def test_other_files_comments_and_docstrings_do_not_count(folder: Path, name: str, old: str, new: str) -> None:
    before = code_sha256([TARGET])
    assert edited(folder / name, old, new) == before


def test_a_file_that_moves_and_a_definition_that_moves_change_nothing(folder: Path) -> None:
    before = code_sha256([TARGET])
    (folder / "mine/helper.py").rename(folder / "mine/aid.py")
    assert edited(folder / "mine/algorithm.py", "mine.helper", "mine.aid") == before
    write(folder / "mine/aid.py", "import math\nRATE = 0.5\n")
    write(folder / "mine/late.py", FILES["mine/late.py"] + HELPER.partition("RATE = 0.5")[2])
    text = "from mine.aid import RATE\nfrom mine.late import halve as half"
    assert edited(folder / "mine/algorithm.py", "from mine.aid import RATE, halve as half", text) == before
    (folder / "mine/algorithm.py").rename(folder / "mine/deep.py")
    assert code_sha256(["mine.deep.Mine"]) == before


def test_a_name_that_comes_from_elsewhere_counts_though_all_files_are_the_same_ones(folder: Path) -> None:
    write(folder / "mine/other.py", FILES["mine/other.py"] + "\n\ndef halve(x):\n    return x\n")
    before = code_sha256([TARGET])
    text = "from mine.helper import RATE\nfrom mine.other import halve as half"
    assert edited(folder / "mine/algorithm.py", "from mine.helper import RATE, halve as half", text) != before


def test_importing_a_module_runs_its_package_which_counts(folder: Path) -> None:
    before = code_sha256(["mine.late.late"])
    write(folder / "mine/__init__.py", "import math\n\nmath.pi = 3\n")
    assert code_sha256(["mine.late.late"]) != before


def test_two_classes_of_one_name_are_told_apart_though_one_package_imports_both(folder: Path) -> None:
    write(folder / "mine/algorithm2.py", MINE.replace("+ late()", "- late()"))
    write(folder / "mine/__init__.py", "from mine import algorithm, algorithm2\n")
    assert code_sha256(["mine.algorithm.Mine"]) != code_sha256(["mine.algorithm2.Mine"])


def test_a_name_that_a_module_passes_on_is_followed_to_where_it_is_defined(folder: Path) -> None:
    write(folder / "mine/aid.py", "from mine.helper import RATE, halve\n")
    before = code_sha256([TARGET])
    assert edited(folder / "mine/algorithm.py", "mine.helper", "mine.aid") != before  # aid's imports are new
    passed_on = code_sha256([TARGET])
    assert edited(folder / "mine/helper.py", "x / 2", "x / 3") != passed_on


@pytest.mark.parametrize("text", ["def halve(:\n", "\x00", "\xff\xfe"])
def test_what_cannot_be_read_gives_none(folder: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    (folder / "mine/helper.py").write_bytes(text.encode("latin-1"))
    assert code_sha256([TARGET]) is None
    assert "cannot be told" in caplog.text


def test_what_is_not_there_gives_none(folder: Path) -> None:
    assert code_sha256(["mine.nowhere.Mine"]) is None
    assert code_sha256(["no_such_module.Mine"]) is None
    assert code_sha256(["__main__.Mine"]) is None
    (folder / "mine/late.py").unlink()
    assert code_sha256([TARGET]) is not None
    (folder / f"mine/late{EXTENSION_SUFFIXES[0]}").touch()  # compiled
    assert code_sha256([TARGET]) is None


def test_a_file_that_changed_while_it_was_loaded_gives_none_until_it_is_loaded_again(folder: Path) -> None:
    module = importlib.import_module("mine.algorithm")
    before = code_sha256([TARGET])
    assert before is not None
    assert edited(folder / "mine/helper.py", "x / 2", "x / 300") is None
    importlib.reload(sys.modules["mine.helper"])
    importlib.reload(module)
    assert code_sha256([TARGET]) not in (before, None)


def test_an_installed_plugin_is_followed_through_its_own_package_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "site-packages", monkeypatch)
    assert set(closure.closure([TARGET])) == {name[:-3].replace("/", ".") for name in FILES} - {
        "beside",
        "mine.__init__",
        "mine.unrelated",
    } | {"mine"}


def test_our_own_code_is_followed_but_no_other_library(folder: Path) -> None:
    write(folder / "mine/late.py", "import torch\nfrom fedpers import seeds\n\n\ndef late():\n    return 1\n")
    found = set(closure.closure([TARGET]))
    assert {"fedpers", "fedpers.seeds", "beside"} <= found
    assert not {name for name in found if name.startswith("torch")}


def test_every_bundled_module_can_be_read() -> None:
    root = Path(digits.__file__).parents[3]
    files = [path for top in ("fedpers", "strategies") for path in (root / top).rglob("*.py")]
    names = [path.relative_to(root).with_suffix("").as_posix().replace("/", ".") for path in files]
    names = [name.removesuffix(".__init__") for name in names]
    assert set(names) <= set(closure.closure([], names))
