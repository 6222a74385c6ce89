"""What happens when a study runs again, when a run fails, and what is said meanwhile."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from studies import study, table

from experiments.machinery import jobs
from experiments.machinery.command import main
from experiments.machinery.jobs import Tally, Workshop
from experiments.machinery.scales import LOCAL
from experiments.machinery.study import Condition, Scale, Study, merge
from fedpers import jobs as simulator
from fedpers.config.compose import compose_config
from fedpers.progress import Silent
from fedpers.results import Run
from fedpers.rows import Entry, Row

TOY = Study(
    name="toy",
    question="Does it run?",
    scales={
        "smoke": Scale(
            merge(study("ablation").scales["smoke"].common, ("rounds=1", "local_epochs=1")),
            (LOCAL,),
            (Condition(""),),
            (0,),
        )
    },
    draw=lambda found, folder: [],
)


def test_finished_runs_are_not_run_again_changed_ones_are(tmp_path: Path, cache: Path) -> None:
    arguments = [f"out={tmp_path}", f"cache={cache}"]
    summary = tmp_path / "runs/local,seed=0/summary.json"

    def run(*overrides: str) -> int:
        assert main(TOY, [*arguments, *overrides]) == 0
        return summary.stat().st_mtime_ns

    first = run()
    assert run() == first
    assert run("engine.num_threads=2", "quiet=true") == first  # these change no result
    changed = run("batch_size=16")
    assert changed > first
    assert Run(summary.parent).config.batch_size == 16
    summary.unlink()  # an unfinished run
    assert run("batch_size=16") > changed


class Stops(Silent):
    """Stops a run after its second round."""

    def round_done(self, round: int, rows: list[Row], entries: list[Entry]) -> None:
        if round == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("other", [[], ["lr=0.01"]])
def test_an_interrupted_run_goes_on_if_it_is_the_same(other: list[str], tmp_path: Path, cache: Path) -> None:
    folder, whole = tmp_path / "a/runs/local,seed=0", tmp_path / "b/runs/local,seed=0"
    rounds = [f"cache={cache}", "rounds=3"]
    assert main(TOY, [f"out={tmp_path / 'b'}", *rounds, *other]) == 0
    assert main(TOY, [f"out={tmp_path / 'a'}", *rounds]) == 0
    config = Run(folder).config
    shutil.rmtree(folder)
    with pytest.raises(KeyboardInterrupt):
        simulator.Job("local", config).run(Stops())
    assert main(TOY, [f"out={tmp_path / 'a'}", *rounds, *other]) == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [each["after_round"] for each in manifest.get("resumed", [])] == ([] if other else [2])
    assert not (folder / "checkpoint").exists()
    tables = [sorted(path.glob("metrics/*")) for path in (folder, whole)]
    assert [path.read_bytes() for path in tables[0]] == [path.read_bytes() for path in tables[1]]
    assert len(tables[0]) == 3


def test_only_directories_that_the_study_made_are_removed(tmp_path: Path, cache: Path, capsys: Any) -> None:
    mine = tmp_path / "runs/local,seed=0"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("irreplaceable")
    assert main(TOY, [f"out={tmp_path}", f"cache={cache}"]) == 2
    assert "was not made by this study" in capsys.readouterr().err
    assert (mine / "thesis.txt").read_text() == "irreplaceable"


def test_a_failing_run_is_reported_and_the_others_go_on(
    tmp_path: Path, cache: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = dataclasses.replace(TOY.scales["smoke"], seeds=(0, 1))
    toy = dataclasses.replace(TOY, scales={"smoke": scale})
    real = jobs.execute
    monkeypatch.setattr(jobs, "execute", lambda text: ("Boom: it broke", 0.0) if '"seed": 0' in text else real(text))
    assert main(toy, [f"out={tmp_path}", f"cache={cache}"]) == 1
    assert "failed: local,seed=0: Boom: it broke" in capsys.readouterr().err
    page = (tmp_path / "toy.md").read_text()
    assert "- local,seed=0: Boom: it broke" in page
    assert "Local (1 missing)" in page
    assert [row["num_seeds"] for row in table(tmp_path, "toy")] == ["1"]
    monkeypatch.undo()
    assert main(toy, [f"out={tmp_path}", f"cache={cache}"]) == 0  # only the failed one is left
    assert [row["num_seeds"] for row in table(tmp_path, "toy")] == ["2"]


def test_a_run_that_raises_is_told_in_one_line() -> None:
    error, seconds = jobs.execute(dataclasses.replace(compose_config(["dataset=cifar10"]), out="x").to_json())
    assert error.startswith("UserError: ")
    assert "\n" not in error
    assert seconds >= 0


@pytest.mark.slow
def test_two_worker_processes_write_what_one_does(tmp_path: Path, cache: Path) -> None:
    toy = dataclasses.replace(TOY, scales={"smoke": dataclasses.replace(TOY.scales["smoke"], seeds=(0, 1))})
    for number in (1, 2):
        assert main(toy, [f"out={tmp_path / str(number)}", f"jobs={number}", f"cache={cache}"]) == 0
    assert (tmp_path / "1/toy.csv").read_text() == (tmp_path / "2/toy.csv").read_text()


def test_progress_is_plain_lines_without_a_terminal(tmp_path: Path, cache: Path, capsys: Any) -> None:
    assert main(TOY, [f"out={tmp_path}", f"cache={cache}"]) == 0
    assert "[1/1] local,seed=0: " in capsys.readouterr().err
    workshop = Workshop(tmp_path / "runs", 1, Tally("toy", 1))
    assert workshop.make([]) == {}
