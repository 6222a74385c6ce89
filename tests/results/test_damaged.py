"""Files of a run that were damaged: a clear message, or a run that does without them; never a traceback or "a bug"."""

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from federations import TINY
from quickly import mostly_slow

from fedpers.errors import UserError
from fedpers.results import Run
from fedpers.run import main as run
from plots.__main__ import main as plot

SMALL = [text for text in TINY if not text.startswith("rounds")]
CONTENTS = [b"[]", b"{}", b"1", b"null", b'"x"', b"", b"\xff\xfe", b'{"a":']


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A sweep of one run with checkpoints and models."""
    folder = tmp_path_factory.mktemp("good") / "sweep"
    words = ["strategy=fedper", "quiet=true", "rounds=3", "checkpoint_every=1", "seed=0,1", f"out={folder}"]
    assert run(["--multirun", *SMALL, *words]) == 0
    return folder


def outcome(command: Callable[[list[str]], int], *words: str) -> tuple[int, str]:
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        return command(list(words)), err.getvalue()


@pytest.mark.parametrize("content", mostly_slow(CONTENTS, [b"[]"]))
def test_a_damaged_file_is_named_or_done_without(content: bytes, good: Path, tmp_path: Path) -> None:
    names = [path.relative_to(good / "seed=0") for path in (good / "seed=0").rglob("*") if path.is_file()]
    assert len(names) > 15
    for name in names:
        for command, words in ((plot, []), (run, ["rounds=4"])):
            here = tmp_path / "run"
            shutil.copytree(good / "seed=0", here)
            (here / name).write_bytes(content)
            code, err = outcome(command, *(words or [str(here)]), *([f"resume={here}"] if words else []))
            assert "looks like a bug" not in err, (name, err)
            assert "Traceback" not in err, (name, err)
            if code:
                assert str(here) in err, (name, err)
            if name.parts[0] == "models":
                with contextlib.suppress(UserError):
                    Run(here).model(0)
            shutil.rmtree(here)


@pytest.mark.parametrize("content", CONTENTS)
def test_so_is_a_sweeps_listing(content: bytes, good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path / "sweep")
    (tmp_path / "sweep/sweep.json").write_bytes(content)
    code, err = outcome(run, f"resume={tmp_path / 'sweep'}")
    assert (code, "sweep.json is damaged" in err) == (2, True), err
