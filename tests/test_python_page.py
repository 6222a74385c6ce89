"""docs/python.md does what it says, line by line."""

import doctest
import os
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "python.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST


@pytest.mark.slow
def test_every_line_does_what_it_says(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPERS_CACHE", str(cache))
    found = doctest.testfile(os.path.relpath(PAGE), module_relative=False, optionflags=FLAGS)
    assert found.attempted > 30
    assert found.failed == 0
