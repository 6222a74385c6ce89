"""Every study from its first run to its page, at the scale that takes seconds; then what happens when it runs again."""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studies import NAMES, study

from experiments import jobs, tuning
from experiments.jobs import Tally, Workshop
from experiments.scales import LOCAL
from experiments.study import Condition, Scale, Study, main, merge
from fedpers.compose import compose_config
from fedpers.results import Run

Conduct = Callable[[str], Path]


@pytest.fixture(scope="module")
def conduct(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Conduct:
    """Run a study at scale smoke, once in this module, and return its folder."""
    folder, done = tmp_path_factory.mktemp("studies"), set()

    def run(name: str) -> Path:
        if name not in done:
            assert main(study(name), ["scale=smoke", f"out={folder}", f"cache={cache}"]) == 0
            done.add(name)
        return folder

    return run


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open() as lines:
        return list(csv.DictReader(lines))


# from end to end


@pytest.mark.parametrize("name", NAMES)
def test_study_runs_from_end_to_end(name: str, conduct: Conduct) -> None:
    folder, scale = conduct(name), study(name).scales["smoke"]
    rows = table(folder, name)
    assert [(r["condition"], r["method"]) for r in rows] == [
        (c.name, a.name) for c in scale.conditions for a in scale.arms
    ]
    assert {row["num_seeds"] for row in rows} == {str(len(scale.seeds))}
    assert all(0 < float(row["accuracy_mean"]) <= 100 for row in rows)
    without = {"Local"} if "Local" in {row["method"] for row in rows} else {row["method"] for row in rows}
    assert all((row["gain_mean"] == "") == (row["method"] in without) for row in rows)
    page = (folder / f"{name}.md").read_text()
    assert f"    python -m experiments.{name} scale=smoke out={folder}" in page
    assert study(name).question in page
    assert all(f"| {row['method']} | {float(row['accuracy_mean']):.1f} ±" in page for row in rows)
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_table_says_what_the_runs_say(conduct: Conduct) -> None:
    folder = conduct("heterogeneity")
    rows = {(row["condition"], row["method"]): row for row in table(folder, "heterogeneity")}

    def figures(arm: str, column: str = "personal") -> list[tuple[dict[str, float], float]]:
        found = []
        for seed in (0, 1):
            summary = json.loads((folder / "runs" / f"{arm},dirichlet-0.1,seed={seed}" / "summary.json").read_text())
            megabytes = sum(sum(kinds.values()) for kinds in summary["bytes"].values()) / 1e6
            found.append((summary["last"]["test"][column], megabytes))
        return found

    for name, arm, column in (("FedD2S", "fedd2s", "personal"), ("FedAvg + FT", "fedavg-ft", "finetuned")):
        row, (first, second) = rows["Dirichlet 0.1", name], figures(arm, column)
        means = [100 * first[0]["mean"], 100 * second[0]["mean"]]
        half = 12.7062 * abs(means[0] - means[1]) / 2  # Student's t with one degree of freedom times s / sqrt(2)
        assert float(row["accuracy_mean"]) == pytest.approx(sum(means) / 2)
        assert float(row["accuracy_high"]) - float(row["accuracy_mean"]) == pytest.approx(half, rel=1e-4, abs=1e-9)
        for key in ("std", "worst_10pct"):
            assert float(row[f"{key}_mean"]) == pytest.approx(50 * (first[0][key] + second[0][key]))
        assert float(row["megabytes_mean"]) == pytest.approx((first[1] + second[1]) / 2)
        gains = [mean - 100 * local[0]["mean"] for mean, local in zip(means, figures("local"), strict=True)]
        half = 12.7062 * abs(gains[0] - gains[1]) / 2
        assert float(row["gain_mean"]) == pytest.approx(sum(gains) / 2)
        assert float(row["gain_mean"]) - float(row["gain_low"]) == pytest.approx(half, rel=1e-4, abs=1e-9)
        early = [
            100 * Run(folder / "runs" / f"{arm},dirichlet-0.1,seed={s}").curve(column, "test").loc[2].mean()
            for s in (0, 1)
        ]  # six rounds: the first quarter ends in the second
        assert float(row["quarter_mean"]) == pytest.approx(sum(early) / 2)


def test_pfllibs_table_stands_beside_ours(conduct: Conduct) -> None:
    folder = conduct("pfllib")
    for strategy, name, published in (("fedavg", "FedAvg", "85.85"), ("fedrep", "FedRep", "97 to 98")):
        runs = [Run(folder / "runs" / f"{strategy},dirichlet-0.1,seed={seed}").summary for seed in (0, 1)]
        share = 50 * sum(run["last"]["test"]["personal"]["weighted"] for run in runs)
        minutes = sum(run["seconds"] for run in runs) / 120
        line = f"| {name} | 2 | {minutes:.1f} | {share:.2f} | {published} |"
        assert line in (folder / "pfllib.md").read_text()


def test_comparison_documents_its_tuning(conduct: Conduct) -> None:
    folder = conduct("comparison")
    scale = study("comparison").scales["smoke"]
    with (folder / "comparison_tuning.csv").open() as lines:
        tried = list(csv.DictReader(lines))
    for condition in scale.conditions:
        for arm in scale.arms:
            mine = [r for r in tried if (r["condition"], r["method"]) == (condition.name, arm.name)]
            assert len(mine) == len(tuning.settings(arm)) == 2
            best = max(mine, key=lambda r: float(r["validation_accuracy"]))
            (chosen,) = [r for r in mine if r["chosen"] == "True"]
            assert float(chosen["validation_accuracy"]) == float(best["validation_accuracy"])
            (row,) = [
                r for r in table(folder, "comparison") if (r["condition"], r["method"]) == (condition.name, arm.name)
            ]
            assert row["setting"] == chosen["setting"]
    page = (folder / "comparison.md").read_text()
    assert "| Dirichlet 0.5 | Local | lr: 0.02, 0.05 | 2 | lr=" in page
    assert "Seeds of these runs: 100; none of them is reported" in page


def test_convergence_shares_the_runs_of_the_comparison(conduct: Conduct) -> None:
    folder = conduct("comparison")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/summary.json")}
    conduct("convergence")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "## Rounds and bytes to a target accuracy" in (folder / "convergence.md").read_text()


# resuming

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
