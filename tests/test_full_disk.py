"""Disks that are full or missing: one line that names the path and the remedy, and what was finished can be read."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from federations import TINY

from fedpers.results import Run

KB = (60, 150, 300, 420, 500, 700, 1000, 1500, 4000)
"""Sizes of the disk: from one that has no room for the data to one that has room for all."""

FIGURES = "figures=[plots.convergence.draw,plots.client_accuracy.draw]"
RUN = [sys.executable, "-m", "fedpers.run", *[text for text in TINY if "figures" not in text], "rounds=3", FIGURES]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk, which only root can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_at_nine_sizes(disk: Path) -> None:
    outcomes = []
    for size in KB:
        subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
        command = [*RUN, f"out={disk / 'run'}", f"cache={disk / 'cache'}", "checkpoint_every=1", "quiet=true"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        outcomes.append((size, done.returncode, lines))
        assert "Traceback" not in done.stderr
        assert done.returncode == (2 if lines else 0), done.stderr
        for line in lines:
            assert str(disk) in line
            assert "No space left on device" in line
            assert any(remedy in line for remedy in ("cache=DIR", "out=DIR", "Make room", "make room"))
        if (disk / "run/config.json").is_file():
            run = Run(disk / "run")
            assert sorted(run.scores["round"].unique()) == list(range(1, run.scores["round"].nunique() + 1))
        subprocess.run(["rm", "-rf", disk / "run", disk / "cache"], check=True)
    assert outcomes[0][1] == 2
    assert outcomes[-1][1] == 0
    assert len({line.split(" in ")[0] for _, _, lines in outcomes for line in lines}) > 2  # several stages


@pytest.mark.slow
def test_without_a_home_directory(tmp_path: Path) -> None:
    """Prepared data lie there by default."""
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "FEDPERS_CACHE")}
    command = [*RUN, f"out={tmp_path / 'run'}", "figures=[]"]
    done = subprocess.run(
        command, env={**environment, "HOME": "/proc/nobody"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: prepared data in /proc/nobody/.cache/fedpers cannot be written")
    assert "cache=DIR" in done.stderr
    command.append(f"cache={tmp_path / 'cache'}")
    done = subprocess.run(command, env={**environment, "HOME": "/proc/nobody"}, capture_output=True, check=False)
    assert done.returncode == 0
