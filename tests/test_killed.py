"""Runs that are killed: nothing is left of them but what they had finished, and they go on to the same bits."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from federations import TINY, tables

RUN = [
    sys.executable,
    "-m",
    "fedpers.run",
    *[text for text in TINY if not text.startswith(("rounds", "model"))],
    "model=cnn",
    "rounds=12",
    "strategy=fedd2s",
    "strategy.dropping_interval=3",
    "participation=0.5",
    "checkpoint_every=1",
    "quiet=true",
]
ENGINES = {"local": ["engine=local"], "ray": ["engine=ray", "engine.num_workers=2"]}


def finished(folder: Path) -> list[str]:
    """Return the rounds whose tables are there as a whole: traffic is written last."""
    return sorted(path.name for path in folder.glob("traffic/round-*.parquet"))


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()} if Path("/dev/shm").is_dir() else set()


def gone(processes: list[psutil.Process], seconds: float) -> list[str]:
    """Return what still runs after some seconds."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [" ".join(process.cmdline())[:200] for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_run_goes_on_to_the_same_bits(engine: str, tmp_path: Path, cache: Path) -> None:
    """Ten runs, each killed at a moment of its own between its first second and its end."""
    command = [*RUN, f"cache={cache}", *ENGINES[engine]]
    start = time.monotonic()
    subprocess.run([*command, f"out={tmp_path / 'whole'}"], check=True, capture_output=True)
    whole, moments = time.monotonic() - start, random.Random(engine)
    before = shared_memory()
    for number in range(10):
        folder = tmp_path / f"killed-{number}"
        run = subprocess.Popen([*command, f"out={folder}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1 + moments.random() * (whole - 1))
        children = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert gone(children, 5.0) == []
        rounds = finished(folder)
        again = (
            [*command, f"out={folder}"] if not (folder / "config.json").is_file() else [*RUN[:3], f"resume={folder}"]
        )
        done = subprocess.run(again, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert set(rounds) <= set(finished(folder))
        assert tables(folder) == tables(tmp_path / "whole")
    assert shared_memory() <= before
