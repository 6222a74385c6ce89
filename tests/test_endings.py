"""Signals that end a run do so in good order, wherever it stands: exit code, message, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from federations import TINY
from test_killed import gone

SMALL = [*[text for text in TINY if not text.startswith("rounds")], "quiet=true", "out=run", "strategy=fedd2s"]
LONG = ["rounds=100000", "checkpoint_every=1000000"]
SLEEPY = ["plugins=[sleepy]"]
SLEEP = """
import time
from pathlib import Path
from fedpers.data.shift import Shift
from strategies.fedavg import FedAvg
def sleep():
    Path("here").touch()
    time.sleep(60)
class Shifting(Shift):
    def apply(self, pixels, labels, *others):
        sleep()
def draw(runs, folder):
    sleep()
class Hanging(FedAvg):
    def train(self, task):
        if task.round == 2:
            sleep()
        return super().train(task)
class OneHanging(FedAvg):
    def train(self, task):
        if (task.round, task.client) == (2, 1):
            sleep()
        return super().train(task)
class Scoring(FedAvg):
    def personalize(self, task):
        if task.round == 2:
            sleep()
        return super().personalize(task)
"""


def command(tmp_path: Path, *words: str, module: str = "fedpers.run") -> "subprocess.Popen[str]":
    (tmp_path / "sleepy.py").write_text(SLEEP)
    environment = {**os.environ, "FEDPERS_CACHE": str(tmp_path / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", module, *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
    )


def wait_for(holds: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stop(process: "subprocess.Popen[str]", number: signal.Signals, tmp_path: Path) -> str:
    """Send a signal and return what was said; nothing is left five seconds later."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert gone(family, 5.0) == []
    assert not list(tmp_path.glob("cache/.preparing-*"))
    return err


MESSAGE = "error: stopped; the results of finished rounds are kept, resume=RUN goes on\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_in_a_round(number: signal.Signals, tmp_path: Path) -> None:
    """The last finished round is in a checkpoint although none was due."""
    process = command(tmp_path, *SMALL, *LONG)
    wait_for(lambda: len(list(tmp_path.glob("run/traffic/*"))) > 2, process)
    assert not (tmp_path / "run/checkpoint").exists()
    assert stop(process, number, tmp_path).endswith(MESSAGE)
    rounds = max(int(path.stem[-5:]) for path in (tmp_path / "run/traffic").glob("round*"))
    kept = max(int(path.stem[-5:]) for path in (tmp_path / "run/checkpoint").glob("*.json"))
    assert rounds - kept in (0, 1)  # tables come first


@pytest.mark.slow
def test_while_data_are_prepared(tmp_path: Path) -> None:
    process = command(tmp_path, *SMALL, *SLEEPY, "shift._target_=sleepy.Shifting")
    wait_for((tmp_path / "here").exists, process)
    assert list(tmp_path.glob("cache/.preparing-*"))
    assert stop(process, signal.SIGTERM, tmp_path).endswith(MESSAGE)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_while_figures_are_drawn(tmp_path: Path) -> None:
    words = [text for text in SMALL if not text.startswith("figures")]
    process = command(tmp_path, *words, *SLEEPY, "rounds=1", "figures=[sleepy.draw]")
    wait_for((tmp_path / "here").exists, process)
    assert stop(process, signal.SIGTERM, tmp_path).endswith(MESSAGE)
    assert (tmp_path / "run/summary.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("engine", [["engine=ray", "engine.num_workers=2"], ["engine=flower"]])
def test_with_processes_of_other_libraries(engine: list[str], tmp_path: Path) -> None:
    process = command(tmp_path, *SMALL, "rounds=100000", *engine)
    wait_for(lambda: list(tmp_path.glob("run/traffic/*")), process)
    assert stop(process, signal.SIGTERM, tmp_path).endswith(MESSAGE)


@pytest.mark.slow
def test_a_study_with_two_workers(tmp_path: Path) -> None:
    process = command(tmp_path, "scale=smoke", "jobs=2", "out=out", "rounds=100000", module="experiments.ablation")
    wait_for(lambda: len(list(tmp_path.glob("out/runs/*/traffic/round-00002*"))) == 2, process)
    assert "finished runs are kept" in stop(process, signal.SIGTERM, tmp_path)
    assert len(list(tmp_path.glob("out/runs/*/checkpoint/*.json"))) == 2


@pytest.mark.slow
def test_a_client_that_hangs_keeps_nobody_waiting(tmp_path: Path) -> None:
    words = [text for text in SMALL if not text.startswith("strategy")]
    process = command(tmp_path, *words, *SLEEPY, "strategy=fedavg", "strategy._target_=sleepy.Hanging", "rounds=3")
    wait_for((tmp_path / "here").exists, process)
    assert stop(process, signal.SIGINT, tmp_path).endswith(MESSAGE)
    assert (tmp_path / "run/checkpoint/round-00001.json").is_file()


@pytest.mark.slow
def test_a_client_that_is_given_up_does_not_keep_the_command_from_its_end(tmp_path: Path) -> None:
    words = [text for text in SMALL if not text.startswith("strategy")]
    hanging = ["strategy=fedavg", "strategy._target_=sleepy.OneHanging", "rounds=3", "engine.client_timeout=3"]
    process = command(tmp_path, *words, *SLEEPY, *hanging)
    wait_for((tmp_path / "here").exists, process)
    _, err = process.communicate(timeout=30)  # it would hang for 60 seconds
    assert process.returncode == 0, err
    assert (tmp_path / "run/summary.json").is_file()


@pytest.mark.slow
def test_while_clients_are_scored(tmp_path: Path) -> None:
    """Their training is lost with the round, as a round that is not scored is not finished."""
    words = [text for text in SMALL if not text.startswith("strategy")]
    process = command(tmp_path, *words, *SLEEPY, "strategy=fedavg", "strategy._target_=sleepy.Scoring", "eval_every=1")
    wait_for((tmp_path / "here").exists, process)
    assert stop(process, signal.SIGTERM, tmp_path).endswith(MESSAGE)
    assert (tmp_path / "run/checkpoint/round-00001.json").is_file()


def test_what_is_ignored_stays_so(tmp_path: Path) -> None:
    """As under nohup."""
    program = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from fedpers.endings import command\n"
        "command(lambda: os.kill(os.getpid(), signal.SIGHUP) or 7)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7
