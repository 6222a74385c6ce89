"""Sweeps: several at the same time, what they say together, what fails, and folders that somebody else has."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from federations import TINY, tables
from test_killed import gone

from fedpers.errors import UserError
from fedpers.locks import held
from fedpers.results import load

ROOT = Path(__file__).parent.parent
SMALL = [text for text in TINY if not text.startswith("rounds")] + ["quiet=true", "rounds=2"]
SWEEP = ["--multirun", *SMALL, "strategy=local,fedavg", "lr=0.05,0.2", "seed=0,1,2"]


def test_a_table_by_setting(cli) -> None:
    code, out, err = cli(*SWEEP, "out=sweep")
    assert code == 0, err
    frame = load("sweep")
    assert sorted(frame.lr.unique()) == ["0.05", "0.2"]
    last = frame[(frame["round"] == 2) & (frame.split == "test") & (frame.model == "personal")]
    last = last[last.metric == "accuracy"]
    rows = list(csv.DictReader(Path("sweep/sweep.csv").read_text().splitlines()))
    assert [row["setting"] for row in rows] == [
        f"strategy={strategy},lr={lr}" for strategy in ("local", "fedavg") for lr in ("0.05", "0.2")
    ]
    for row in rows:
        strategy, lr = re.fullmatch(r"strategy=(\w+),lr=(.+)", row["setting"]).groups()  # type: ignore[union-attr]
        mine = last[(last.strategy == strategy) & (last.lr == lr)]
        by_seed = mine.groupby("seed")["value"].mean()
        assert row["seeds"] == "3"
        assert float(row["accuracy"]) == pytest.approx(by_seed.mean())
        half = 4.302653 * by_seed.std() / 3**0.5  # Student's t with two degrees of freedom
        assert float(row["accuracy_high"]) - float(row["accuracy"]) == pytest.approx(half, rel=1e-5)
        worst = mine.sort_values("value").groupby("seed")["value"].first()  # one of four clients
        assert float(row["worst_10pct"]) == pytest.approx(worst.mean())
        assert (
            f"| {row['setting']} | 3 | 4 | {100 * float(row['accuracy']):.1f} % |" in Path("sweep/sweep.md").read_text()
        )
    assert "By setting, mean over seeds" in out


def test_a_single_seed_has_no_interval(cli) -> None:
    assert cli("--multirun", *SMALL, "strategy=local,fedavg", "out=sweep")[0] == 0
    assert "| strategy=local | 1 | 4 | " in (text := Path("sweep/sweep.md").read_text())
    assert " | – | " in text


def test_a_job_that_is_named_twice_is_one_run(cli) -> None:
    code, _, err = cli("--multirun", *SMALL, "strategy=local", "seed=0,0", "out=sweep")
    assert code == 0
    assert "seed=0 is named twice: it is one run" in err
    assert len(list(Path("sweep").glob("seed=*"))) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["jobs=2"], "jobs=2 is of use with --multirun only"),
        (["--multirun", "jobs=0"], "jobs=0 is not possible. Accepted: a whole number of at least 1"),
        (["--multirun", "jobs=two"], "jobs=two is not possible"),
    ],
)
def test_what_is_impossible_is_said(words: list[str], message: str, cli) -> None:
    code, _, err = cli(*SMALL, *words)
    assert (code, message in err) == (2, True), err


def command(folder: Path, cache: Path, *words: str) -> "subprocess.Popen[str]":
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    return subprocess.Popen(
        [sys.executable, "-m", "fedpers.run", *words],
        cwd=folder,
        env={**os.environ, "FEDPERS_CACHE": str(cache), "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_jobs_at_the_same_time_write_what_one_after_the_other_do(cli, tmp_path: Path, cache: Path) -> None:
    sweep = ["--multirun", *SMALL, "strategy=fedper", "seed=0,1,2"]
    assert cli(*sweep, "out=one")[0] == 0
    done = command(tmp_path, cache, *sweep, "out=two", "jobs=2")
    out, err = done.communicate()
    assert done.returncode == 0, err
    assert "Personal models" in out
    for seed in range(3):
        assert tables(f"one/seed={seed}") == tables(f"two/seed={seed}")


@pytest.mark.slow
def test_one_of_six_jobs_fails_and_one_is_killed(cli, tmp_path: Path, cache: Path) -> None:
    """The rest runs; the sweep goes on with what is left, and to the same tables."""
    toy = ["plugins=[toys]", "strategy=fedavg", "strategy._target_=toys.Slow", "+strategy.seconds=0.3"]
    sweep = ["--multirun", *SMALL, "rounds=4", "checkpoint_every=1", *toy, "seed=0,1,2,3,4,5", "+strategy.fails=5"]
    process = command(tmp_path, cache, *sweep, "out=sweep", "jobs=2")
    third = tmp_path / "sweep/seed=2"
    while not list(third.glob("traffic/round-00002*")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    holder = json.loads((third / ".holder.json").read_text())
    os.kill(holder["pid"], signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert all(f"seed={seed} " in out.partition("Personal models")[2] for seed in (0, 1, 3, 4))
    assert process.returncode == 1
    assert "failed: seed=2: a worker process died" in err
    assert "failed: seed=5: all 4 clients failed" in err
    assert err.endswith("error: 2 of 6 jobs failed: seed=2; seed=5\n")
    assert "Traceback" not in err
    again = command(tmp_path, cache, "resume=sweep", "plugins=[toys]", "jobs=2")
    out, err = again.communicate(timeout=240)
    assert again.returncode == 1
    assert err.count("has ended already") == 4
    resumed = json.loads((third / "manifest.json").read_text())["resumed"]
    assert resumed[0]["after_round"] in (1, 2, 3)  # its tables come before its checkpoint
    assert "failed: seed=5: all 4 clients failed" in err
    assert err.endswith("error: 1 of 6 jobs failed: seed=5\n")
    assert all(f"seed={seed} " in out.partition("Personal models")[2] for seed in range(5))
    whole = [text for text in sweep if not text.startswith("seed")]
    assert cli(*whole, "seed=2,9", "out=whole")[0] == 0
    assert tables("sweep/seed=2") == tables("whole/seed=2")


@pytest.mark.slow
def test_a_sweep_with_two_workers_ends_in_good_order(tmp_path: Path, cache: Path) -> None:
    words = ["--multirun", *SMALL, "rounds=100000", "strategy=fedper", "seed=0,1,2", "out=sweep", "jobs=2"]
    process = command(tmp_path, cache, *words)
    while len(list(tmp_path.glob("sweep/*/traffic/round-00003*"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    import psutil

    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert err.endswith("error: stopped; the results of finished rounds are kept, resume=RUN goes on\n")
    assert gone(family, 5.0) == []
    assert len(list(tmp_path.glob("sweep/*/checkpoint/*.json"))) == 2


@pytest.mark.slow
def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path, cache: Path) -> None:
    words = [*SMALL, "strategy=local", "rounds=1"]
    processes = [command(tmp_path, cache, *words) for _ in range(4)]
    for process in processes:
        assert process.wait() == 0, process.communicate()[1]
    folders = list((tmp_path / "runs/quickstart").iterdir())
    assert len(folders) == 4
    assert all((folder / "summary.json").is_file() for folder in folders)


def test_a_folder_has_one_writer(cli, tmp_path: Path) -> None:
    assert cli("--multirun", *SMALL, "strategy=local", "seed=0,1", "out=sweep")[0] == 0
    with held(tmp_path / "sweep", "the sweep's folder"):
        code, _, err = cli("resume=sweep")
    assert code == 2
    assert f"the sweep's folder sweep is being written by process {os.getpid()} on " in err
    assert cli("resume=sweep")[0] == 0
    assert not list(Path("sweep").glob(".*"))


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    with held(tmp_path, "the folder"), pytest.raises(UserError, match="is being written by"), held(tmp_path, "it"):
        pass
    with held(tmp_path, "the folder"):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".holder.json", ".lock"]
    assert list(tmp_path.iterdir()) == []
