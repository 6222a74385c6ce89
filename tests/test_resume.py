"""Runs that go on: the bits are those of a run that never stopped, and what differs is refused by name."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from federations import TINY, chosen, tables

from fedpers import checkpoint
from fedpers.config.compose import group_choices

FEDD2S = ["strategy=fedd2s", "strategy.dropping_interval=2", "participation=0.5", "checkpoint_every=1"]
SMALL = [text for text in TINY if not text.startswith("rounds")] + ["quiet=true", *FEDD2S]


def test_a_run_goes_on_to_more_rounds(cli) -> None:
    assert cli(*SMALL, "rounds=5", "out=whole")[0] == 0
    assert cli(*SMALL, "rounds=2", "out=part")[0] == 0
    code, out, err = cli("resume=part", "rounds=5")
    assert code == 0, err
    assert "goes on after round 2 of 5" in err
    assert "round 5/5" in err
    assert "last (5)" in out
    assert tables("part") == tables("whole")
    manifest = json.loads(Path("part/manifest.json").read_text())
    assert [(each["after_round"], each["differences"]) for each in manifest["resumed"]] == [(2, [])]
    assert json.loads(Path("part/config.json").read_text())["rounds"] == 5


def test_a_run_goes_on_with_another_engine(cli) -> None:
    assert cli(*SMALL, "rounds=4", "out=whole", "engine.num_threads=1")[0] == 0
    assert cli(*SMALL, "rounds=2", "out=part", "engine.num_threads=1")[0] == 0
    assert cli("resume=part", "rounds=4", "engine=local", "engine.num_threads=2")[0] == 0
    assert tables("part") == tables("whole")


def test_a_run_without_a_checkpoint_starts_over(cli) -> None:
    small = [text for text in SMALL if not text.startswith("checkpoint_every")]
    assert cli(*small, "rounds=2", "out=whole")[0] == 0
    assert cli(*small, "rounds=2", "out=part", "checkpoint_every=0")[0] == 0
    Path("part/summary.json").unlink()
    assert not Path("part/checkpoint").exists()
    code, _, err = cli("resume=part")
    assert code == 0, err
    assert "has no checkpoint and starts over" in err
    assert tables("part") == tables("whole")


def test_a_run_that_has_ended_is_left_alone(cli) -> None:
    assert cli(*SMALL, "rounds=2", "out=run")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")}
    code, out, err = cli("resume=run")
    assert (code, "has ended already" in err, "last (2)" in out) == (0, True, True)
    code, _, err = cli("resume=run", "lr=0.2")
    assert (code, "run cannot go on as the run that it is: lr was 0.1 and is 0.2" in err) == (2, True)
    assert {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")} == before


REFUSED = {
    "a key": (["lr=0.2"], ["lr was 0.1 and is 0.2", "resume_force=true"]),
    "a group's key": (["strategy.lambda_kl=0.7"], ["strategy.lambda_kl was 0.3 and is 0.7"]),
    "a choice": (["strategy=fedavg"], ["strategy was FedD2S and is FedAvg"]),
    "data": (["partition.num_clients=3"], ["partition.num_clients was 4 and is 3"]),
    "fewer rounds": (["rounds=1"], ["rounds=1 is not possible: run has 2 rounds already"]),
    "an unknown key": (["lrr=1"], ["unknown key 'lrr'. Did you mean 'lr'?"]),
    "an unknown group key": (["engine.num_threds=1"], ["engine.num_threds", "num_threads"]),
    "a wrong type": (["rounds=many"], ["rounds", "'many'"]),
    "an experiment": (["experiment=quickstart"], ["experiment=quickstart is not possible where a run goes on"]),
    "another engine": (["engine=flower", "checkpoint_every=null"], ["cannot go on with engine=flower"]),
    "no truth value": (["resume_force=maybe"], ["resume_force=maybe is not possible. Accepted: true or false"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_differs_is_named_and_refused(case: str, cli) -> None:
    overrides, expected = REFUSED[case]
    assert cli(*SMALL, "rounds=2", "out=run")[0] == 0
    before = tables("run")
    code, out, err = cli("resume=run", "rounds=3", *overrides)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert all(text in err for text in expected), err
    assert tables("run") == before
    assert Path("run/summary.json").is_file()


def test_other_code_and_other_files_are_refused_unless_forced(cli) -> None:
    assert cli(*SMALL, "rounds=2", "out=run")[0] == 0
    path = Path("run/manifest.json")
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"code_sha256": "0" * 64, "dataset_sha256": "1" * 64}))
    code, _, err = cli("resume=run", "rounds=3")
    assert code == 2
    assert "the dataset's files differ; the code differs. Accepted: the same, or resume_force=true" in err
    assert cli("resume=run", "rounds=3", "lr=0.2", "resume_force=true")[0] == 0
    (last,) = json.loads(path.read_text())["resumed"]
    assert last["differences"] == ["lr was 0.1 and is 0.2", "the dataset's files differ", "the code differs"]
    assert cli("resume=run", "rounds=4", "lr=0.2")[0] == 0  # it is now what it was made to be


def test_a_schedule_that_depends_on_the_rounds_is_named(cli) -> None:
    even = [text for text in SMALL if not text.startswith("strategy.dropping")]
    assert cli(*even, "rounds=2", "out=run")[0] == 0
    code, _, err = cli("resume=run", "rounds=4")
    assert code == 2
    assert "rounds was 2 and is 4, and strategy.dropping_interval=null shares all rounds evenly" in err


def test_what_is_no_run_is_named(cli) -> None:
    code, _, err = cli("resume=nowhere")
    assert (code, err) == (2, "error: nowhere is no run directory: it holds no config.json\n")
    code, _, err = cli(*SMALL, "rounds=1", "resume_force=true")
    assert (code, "resume_force=true is of use with resume=RUN only" in err) == (2, True)


def test_plugins_are_named_again(cli) -> None:
    """A file in a run directory does not choose what code is run."""
    toy = ["plugins=[toys]", "strategy=fedavg", "strategy._target_=toys.Failing", "+strategy.client=9"]
    small = [text for text in SMALL if not text.startswith("strategy")]
    assert cli(*small, *toy, "+strategy.round=9", "rounds=1", "out=run")[0] == 0
    code, _, err = cli("resume=run", "rounds=2")
    assert (code, "run was run with plugins=['toys'], whose code would be run" in err) == (2, True)
    assert cli("resume=run", "rounds=2", "plugins=[toys]")[0] == 0


def test_a_state_that_no_file_can_hold_is_named_in_the_first_round(cli) -> None:
    mine = ["plugins=[broken]", "strategy=fedavg", "strategy._target_=broken.UnkeepingServer"]
    small = [text for text in SMALL if not text.startswith(("strategy", "checkpoint_every"))]
    code, _, err = cli(*small, *mine, "rounds=2", "out=run")
    assert code == 2
    assert "the server's state cannot be kept: rule is a builtin_function_or_method" in err
    assert "checkpoint_every=0" in err
    assert cli(*small, *mine, "rounds=2", "out=other", "checkpoint_every=0")[0] == 0


def test_a_sweep_goes_on(cli, monkeypatch) -> None:
    """Of three jobs one has ended, one has half of its rounds, and one has not begun."""
    sweep = ["--multirun", *SMALL, "seed=0,1,2", "rounds=4"]
    assert cli(*sweep, "out=whole")[0] == 0
    assert cli(*sweep, "out=part")[0] == 0
    for path in Path("part/seed=1").rglob("*00004*"):
        path.unlink()
    Path("part/seed=1/summary.json").unlink()
    subprocess.run(["rm", "-r", "part/seed=2"], check=True)
    kept = Path("part/seed=0/summary.json").stat().st_mtime_ns
    code, out, err = cli("resume=part")
    assert code == 0, err
    assert "seed=0: has ended already" in err
    assert "seed=1: goes on after round 3 of 4" in err
    assert "seed=2: round 4/4" in err
    assert all(f"seed={seed}" in out.partition("Personal models")[2] for seed in range(3))
    assert Path("part/seed=0/summary.json").stat().st_mtime_ns == kept
    for seed in range(3):
        assert tables(f"part/seed={seed}") == tables(f"whole/seed={seed}")


def test_a_sweep_reports_a_job_that_fails_and_runs_the_rest(cli) -> None:
    toy = ["plugins=[toys]", "strategy=fedavg", "strategy._target_=toys.Failing", "+strategy.client=-1"]
    small = [text for text in SMALL if not text.startswith("strategy")]
    code, out, err = cli("--multirun", *small, *toy, "+strategy.round=1,9", "rounds=2", "out=sweep")
    assert code == 1
    assert "failed: strategy.round=1: all 2 clients failed in round 1. The first: RuntimeError: the battery" in err
    assert err.endswith("error: 1 of 2 jobs failed: strategy.round=1\n")
    assert "strategy.round=9" in out.partition("Personal models")[2]


ENGINES = {
    "local": ["engine=local", "engine.num_threads=2"],
    "ray": ["engine=ray", "engine.num_workers=2"],
}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", group_choices("strategy"))
def test_strategies_go_on_as_if_they_had_not_stopped(strategy: str, cli, monkeypatch) -> None:
    """On either engine, after half of the rounds on a thread of this process."""
    monkeypatch.setattr(checkpoint, "NUM_KEPT", 4)
    assert cli(*every_round(strategy), "engine.num_threads=1", "out=whole")[0] == 0
    for name, engine in ENGINES.items():
        shutil.copytree("whole", name)
        goes_on_after_being_killed(name, cli, *engine)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedd2s", "scaffold", "flower_fedadam"])
def test_what_began_on_ray_goes_on_there(strategy: str, cli, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "NUM_KEPT", 4)
    assert cli(*every_round(strategy), "out=whole")[0] == 0
    assert cli(*every_round(strategy), *ENGINES["ray"], "out=part")[0] == 0
    goes_on_after_being_killed("part", cli)


def every_round(strategy: str) -> list[str]:
    return [*(text for text in SMALL if not text.startswith("strategy")), *chosen(strategy), "rounds=4"]


def goes_on_after_being_killed(folder: str, cli, *words: str) -> None:
    for number in (3, 4):  # as if it had been killed in round 3
        for path in Path(folder).rglob(f"*{number:05d}*"):
            path.unlink()
    Path(folder, "summary.json").unlink()
    code, _, err = cli(f"resume={folder}", *words)
    assert code == 0, err
    assert "goes on after round 2 of 4" in err
    assert tables(folder) == tables("whole")
