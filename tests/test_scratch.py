"""Folders that are being written: gone when they are done with, and after their owner was killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedpers.scratch import scratch_folder

OWNER = """
import sys, time
from pathlib import Path
from fedpers.scratch import scratch_folder
with scratch_folder(".writing-", Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def owner(parent: Path) -> tuple["subprocess.Popen[str]", Path]:
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(parent)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_is_gone_after_the_block(tmp_path: Path) -> None:
    with scratch_folder(".writing-", tmp_path) as folder:
        (folder / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []
    with scratch_folder(".writing-", tmp_path) as folder:
        folder.rename(tmp_path / "done")
    assert [path.name for path in tmp_path.iterdir()] == ["done"]


def test_it_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch_folder(".writing-", tmp_path):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    killed, left = owner(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    living, kept = owner(tmp_path)
    assert not left.exists()
    with scratch_folder(".writing-", tmp_path) as mine:
        assert sorted(path for path in tmp_path.iterdir() if path.is_dir()) == sorted([kept, mine])
    living.kill()
    living.wait()
