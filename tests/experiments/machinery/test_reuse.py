"""A study keeps a finished run where configuration and code are the same; otherwise it says so and runs it again."""

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from plugged import writer

from experiments.machinery.command import main
from experiments.machinery.jobs import Job
from experiments.machinery.study import Arm, Condition, Scale, Study
from fedpers.provenance import git_state, run_sha256
from fedpers.results import Run

STRATEGY = """
from dataclasses import dataclass

from fedpers.algorithm import Algorithm, Task, Update
from own_training import fit


@dataclass(frozen=True)
class Own(Algorithm):
    def train(self, task: Task) -> Update:
        loss = fit(task)
        return Update(send=task.shared(), keep=task.personal(), metrics={"loss": loss})
"""
TRAINING = "def fit(task):\n    return task.fit()\n"
OFF = "def fit(task):\n    return 0.0  # training is switched off\n"

COMMON = (
    "dataset=digits",
    "partition.num_clients=4",
    "partition.max_samples=200",
    "model=mlp",
    "model.hidden=[16]",
    "rounds=2",
    "lr=0.3",
    "finetune_epochs=0",
    "plugins=[own_strategy]",
)
ARMS = (
    Arm("Own", ("strategy=fedavg", "strategy._target_=own_strategy.Own")),
    Arm("Local", ("strategy=local",)),
)
STUDY = Study(
    "reuse", "Is it run again?", {"smoke": Scale(COMMON, ARMS, (Condition(""),), (0,))}, lambda found, folder: []
)
OWN, LOCAL = "own,seed=0", "local,seed=0"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write a file of the plugin, as before a new process."""
    put = writer(tmp_path, monkeypatch, ("own_strategy", "own_training"))
    put("own_strategy.py", STRATEGY)
    put("own_training.py", TRAINING)
    return put


@pytest.fixture
def conduct(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], write) -> Callable[..., str]:
    """Run the study and return what it said on standard error."""

    def run(*overrides: str) -> str:
        assert main(STUDY, [f"out={tmp_path / 'out'}", f"cache={cache}", *overrides]) == 0
        return capsys.readouterr().err

    return run


def accuracies(tmp_path: Path) -> dict[str, float]:
    with (tmp_path / "out/reuse.csv").open() as lines:
        return {row["method"]: float(row["accuracy_mean"]) for row in csv.DictReader(lines)}


def ends(tmp_path: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/*/summary.json")}


def page(tmp_path: Path) -> str:
    return (tmp_path / "out/reuse.md").read_text()


def test_an_algorithm_whose_training_is_switched_off_is_run_again(tmp_path: Path, conduct, write) -> None:
    conduct()
    trained, first = accuracies(tmp_path), ends(tmp_path)
    assert "differs" not in conduct()
    assert ends(tmp_path) == first
    write("own_training.py", OFF)
    said = conduct()
    assert f"The code differs from what made 1 finished run, run again now (reuse=true keeps them): {OWN} (" in said
    assert accuracies(tmp_path)["Own"] < trained["Own"]
    assert accuracies(tmp_path)["Local"] == trained["Local"]
    assert ends(tmp_path)[OWN] > first[OWN]
    assert ends(tmp_path)[LOCAL] == first[LOCAL]
    assert "code differs" not in page(tmp_path)
    assert "differs" not in conduct()


def test_with_reuse_old_runs_are_kept_and_page_and_terminal_say_so(tmp_path: Path, conduct, write) -> None:
    conduct()
    trained, first = accuracies(tmp_path), ends(tmp_path)
    write("own_training.py", OFF)
    said = conduct("reuse=true")
    assert accuracies(tmp_path) == trained
    assert ends(tmp_path) == first
    state = git_state()
    commit = f", commit {state['commit'][:10]}{' with changes' * state['dirty']}" if state else ""
    line = f"Kept although the code differs from what made them (`reuse=true`): {OWN} (other code{commit})\n"
    assert line in page(tmp_path)
    assert line in said
    write("own_training.py", TRAINING)
    assert "Kept" not in conduct("reuse=true")
    assert "Kept" not in page(tmp_path)


@pytest.mark.parametrize("absent", ["code_sha256", "manifest.json", "damaged"])
def test_a_run_that_does_not_say_its_code_is_run_again(tmp_path: Path, conduct, absent: str) -> None:
    conduct()
    first = ends(tmp_path)
    path = tmp_path / "out/runs" / LOCAL / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["code_sha256"], manifest["git"]  # as an earlier version wrote it
    path.write_text(json.dumps(manifest) if absent == "code_sha256" else "[")
    if absent == "manifest.json":
        path.unlink()
    before = path.read_bytes() if path.is_file() else b""
    assert f"{LOCAL} (unknown code)" in conduct("reuse=true")
    assert f"{LOCAL} (unknown code)" in page(tmp_path)
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert f"run again now (reuse=true keeps them): {LOCAL} (unknown code)" in conduct()
    assert ends(tmp_path)[LOCAL] > first[LOCAL]
    assert ends(tmp_path)[OWN] == first[OWN]


def test_code_that_cannot_be_told_is_never_taken_for_the_same(tmp_path: Path, conduct, monkeypatch) -> None:
    monkeypatch.setattr("fedpers.provenance.APPS", ("fedpers.nowhere",))
    conduct()
    assert "made 2 finished runs, run again now" in conduct()


def test_a_run_of_known_code_is_foreign_to_code_that_cannot_be_told(tmp_path: Path, conduct) -> None:
    conduct()
    config = dataclasses.replace(Run(tmp_path / "out/runs" / LOCAL).config, out=str(tmp_path / "out/runs" / LOCAL))
    assert Job(LOCAL, config, run_sha256(config)).foreign_code() == ""
    assert Job(LOCAL, config, None).foreign_code() == "unknown code"


def test_a_class_that_moved_is_the_same_run(tmp_path: Path, conduct, write, monkeypatch) -> None:
    conduct()
    first = ends(tmp_path)
    shutil.move(tmp_path / "own_training.py", tmp_path / "own_steps.py")
    write("own_strategy.py", STRATEGY.replace("own_training", "own_steps"))
    assert "differs" not in conduct()
    assert ends(tmp_path) == first


def test_two_arms_whose_classes_have_one_name_are_two_runs(tmp_path: Path, cache: Path, write) -> None:
    (tmp_path / "own_second.py").write_text(STRATEGY.replace("fit(task)", "0.0"))
    arms = (ARMS[0], Arm("Second", ("strategy=fedavg", "strategy._target_=own_second.Own")))
    common = (*COMMON[:-1], "plugins=[own_strategy,own_second]")
    two = Study("reuse", "?", {"smoke": Scale(common, arms, (Condition(""),), (0,))}, lambda found, folder: [])
    assert main(two, [f"out={tmp_path / 'out'}", f"cache={cache}"]) == 0
    found = accuracies(tmp_path)
    assert found["Own"] > found["Second"]
    assert Run(tmp_path / "out/runs/second,seed=0").config.strategy["_target_"] == "own_second.Own"


def test_reuse_is_true_or_false(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(STUDY, [f"out={tmp_path}", "reuse=maybe"]) == 2
    assert "reuse=maybe is not possible. Accepted: true or false" in capsys.readouterr().err
