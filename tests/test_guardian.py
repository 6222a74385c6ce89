"""Processes that are started in a guarded block end with the one that started them, others do not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fedpers.guardian import GRACE, MARK, guarded

PARENT = """
import subprocess, sys, time
from fedpers.guardian import guarded
ends_late = [sys.executable, "-c", "import subprocess, sys, time; print(subprocess.Popen([sys.executable, '-c', "
    "'import time; time.sleep(60)']).pid, flush=True); time.sleep(60)"]
with guarded():
    ours = subprocess.Popen(ends_late, stdout=subprocess.PIPE, text=True)
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(ours.pid, ours.stdout.readline().strip(), other.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_started_in_the_block_ends_with_its_parent(end: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    ours, below, other = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
    parent.send_signal(end)
    parent.wait()
    try:
        _, alive = psutil.wait_procs([ours, below], timeout=GRACE + 3)
        assert not alive
        assert other.is_running()
    finally:
        other.kill()


def test_the_mark_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MARK, raising=False)
    with guarded():
        first = os.environ[MARK]
    assert MARK not in os.environ
    monkeypatch.setenv(MARK, "of a process above")
    with guarded():
        assert os.environ[MARK] == first
    assert os.environ[MARK] == "of a process above"


def test_an_end_in_good_order_needs_no_guardian(tmp_path: Path) -> None:
    """The guardian ends at once when nothing is left, so that no process of the run outlives it."""
    program = "from fedpers import guardian\nwith guardian.guarded():\n    print(guardian._guardian.pid)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    deadline = time.monotonic() + 3
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(done.stdout))
