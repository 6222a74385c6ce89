"""Generated command lines: a run that makes sense, or a message that says what is accepted."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from federations import TINY
from hypothesis import given
from tried import Outcomes, command_lines, counted, outcome, tries

from fedpers.config.compose import merged
from fedpers.run import main

BASE = [*(text for text in TINY if not text.startswith("rounds")), "rounds=2", "strategy=fedavg", "quiet=true"]


@pytest.fixture(scope="module")
def counts() -> Iterator[Outcomes]:
    """What came of this module's damages."""
    yield from counted("command lines")


@pytest.mark.slow
@tries(25)
@given(words=command_lines())
def test_a_command_line_is_run_or_answered(words: list[str], counts: Outcomes, cache: Path, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    code, text = outcome(main, [*merged(BASE, words), f"cache={cache}", f"out={folder}"])
    counts[{0: "run to its end", 1: "the federation could not go on", 2: "refused"}[code]] += 1
    if code == 0:
        summary = json.loads((folder / "summary.json").read_text())
        for split in summary["last"].values():
            for figures in split.values():
                assert 0 <= figures["mean"] <= 1, words
                assert math.isfinite(figures["std"])
    if code == 2:
        assert not folder.exists() or not list(folder.iterdir()), (words, text)
    shutil.rmtree(folder.parent)
