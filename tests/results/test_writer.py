"""What a run directory holds while the run lasts, and what it never overwrites."""

import pytest
from written import entry

from fedpers.errors import UserError
from fedpers.results import Run
from fedpers.results.writer import RunWriter


def test_absent_seconds_and_errors_are_null(tmp_path) -> None:
    writer = RunWriter(tmp_path / "run")
    writer.write_json("config.json", {})
    writer.write_round(1, [], [entry(1, "down", "weights", 4), entry(1, "up", "error", 0, error="no")])
    table = Run(writer.folder).traffic
    assert table.seconds.isna().all()
    assert table.error.isna().tolist() == [True, False]
    assert not list((writer.folder / "metrics").iterdir())


def test_run_directory_is_never_overwritten(tmp_path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(UserError, match=r"not empty.*out=DIR"):
        RunWriter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]


def test_run_directory_under_a_file(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        RunWriter(tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot be written.*out=DIR"):
        RunWriter(tmp_path / "file" / "run")


def test_tables_survive_a_stop_between_rounds(run) -> None:
    (run.folder / "metrics" / ".round-00004.parquet").write_bytes(b"half")
    assert run.scores["round"].max() == 3
