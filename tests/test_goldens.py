"""No number has changed since the golden files were made: `tests/goldens.py` says how they are made anew."""

import json
from pathlib import Path

import goldens
import pytest
from quickly import mostly_slow

CASES = goldens.cases()
MADE_HERE = goldens.here() == json.loads(goldens.PLATFORM.read_text())


def numbers(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if not line.startswith("#")]


def test_every_case_has_a_file_and_every_file_a_case() -> None:
    assert {path.stem for path in goldens.FOLDER.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", mostly_slow(CASES, CASES.keys() - goldens.OPTIONS.keys()))
def test_numbers_are_those_of_the_golden_file(name: str, tmp_path: Path, cache: Path) -> None:
    found, expected = goldens.compute(name, tmp_path, cache), goldens.path(name).read_text()
    if MADE_HERE:
        assert found == expected
        return
    rows, golden = numbers(found), numbers(expected)
    assert [row[:4] for row in rows] == [row[:4] for row in golden]
    values = [float(value) for row in rows for value in row[4:]]
    assert values == pytest.approx(
        [float(value) for row in golden for value in row[4:]], rel=1e-5, abs=1e-5, nan_ok=True
    )
