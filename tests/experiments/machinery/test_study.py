"""Every study from its first run to its page, at the scale that takes seconds; and its command line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quickly import mostly_slow
from studies import NAMES, study, table

from experiments import ablation, convergence
from experiments.machinery import tuning
from experiments.machinery.command import main, read
from experiments.machinery.scales import LOCAL, dirichlet
from experiments.machinery.study import Arm, Scale, merge
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


@pytest.mark.parametrize("name", mostly_slow(NAMES, ["heterogeneity", "pfllib"]))
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_convergence_shares_the_runs_of_the_comparison(conduct: Conduct) -> None:
    folder = conduct("comparison")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/summary.json")}
    conduct("convergence")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "## Rounds, bytes and seconds to a target accuracy" in (folder / "convergence.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scale=smok"], "unknown scale 'smok'. Did you mean 'smoke'? Accepted: cifar10, glyphs, laptop, paper, smoke"),
        (["scle=smoke"], "unknown key 'scle'. Did you mean 'scale'?"),
        (["rouns=3"], "unknown key 'rouns'. Did you mean 'rounds'?"),
        (["model.hiden=[3]"], "Did you mean 'hidden'?"),
        (["smoke"], "'smoke' is no override"),
        (["jobs=0"], "jobs=0 is not possible. Accepted: a whole number of at least 1"),
        (["out="], "out= names no folder"),
        (["seed=5"], "this study sets seed itself"),
        (["strategy.mu=0.5"], "this study sets strategy.mu itself"),
        (["partition.num_clients=100"], "Accepted: at most 20 clients"),
        (["scale=laptop", "dataset.root=/nowhere"], "/nowhere"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], told: str, tmp_path: Path, cache: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(ablation.STUDY, [f"cache={cache}", *arguments]) == 2
    output = capsys.readouterr()
    assert told in output.err
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []


def test_help_says_what_there_is(capsys: Any) -> None:
    assert main(convergence.STUDY, ["--help"]) == 0
    text = capsys.readouterr().out
    assert "python -m experiments.convergence [scale=smoke|laptop|cifar10|glyphs|paper]" in text
    assert "runs/experiments/comparison-SCALE" in text
    assert "FedD2S+, own heads" in text


def test_default_folders_and_the_command() -> None:
    options = read(ablation.STUDY, ["scale=laptop", "jobs=2", "dataset.root=my data"])
    assert (options.scale, options.jobs) == ("laptop", 2)
    assert options.folder == Path("experiments/results/ablation-laptop")
    assert options.runs == Path("runs/experiments/ablation-laptop")
    assert options.command == "python -m experiments.ablation scale=laptop jobs=2 'dataset.root=my data'"
    assert read(convergence.STUDY, []).runs == Path("runs/experiments/comparison-smoke")
    assert read(convergence.STUDY, ["out=x"]).runs == Path("x/runs")


def test_later_overrides_replace_earlier_ones() -> None:
    assert merge(("a=1", "b=2"), ("a=3",)) == ("a=3", "b=2")
    assert Arm("x", ()).column == "personal"


def test_tuning_seeds_are_never_reported() -> None:
    with pytest.raises(AssertionError, match="must not be reported"):
        Scale((), (LOCAL,), dirichlet(0.1), seeds=(0, 1), tuning_seeds=(1,))
