"""The worked example of docs/extending.md, written from the page alone and used at every door that the page names."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.comparison import SCALES
from fedpers.results import Run, load

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()
COMMANDS = re.findall(r"```sh\n(python .*)\n```", PAGE)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files of the page into a folder of their own."""
    folder = tmp_path_factory.mktemp("my_lab")
    files = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
    assert set(files) == {"lab.py", *(f"configs/{kind}.yaml" for kind in KINDS)}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


KINDS = ("strategy/half", "dataset/rings", "model/tiny", "partition/blocks")


def run(lab: Path, module: str) -> subprocess.CompletedProcess[str]:
    """Run the page's command of a module as it stands there."""
    (command,) = (text for text in COMMANDS if text.startswith(f"python -m {module} "))
    done = subprocess.run(
        [sys.executable, *command.split()[1:]],
        cwd=lab,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FEDPERS_CACHE": str(lab / "cache")},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_page_has_a_command_for_every_door() -> None:
    doors = [command.split()[2] for command in COMMANDS]
    assert doors == ["fedpers.run", "fedpers.data", "plots", "fedpers.check", "experiments.comparison"]


def test_a_run_is_scored_and_drawn_by_what_is_the_users(lab: Path) -> None:
    done = run(lab, "fedpers.run")
    assert re.search(r"brier +0\.\d", done.stdout)
    found = Run(lab / "runs/half")
    assert found.metric_names == ["accuracy", "loss", "brier"]
    assert found.smaller_is_better == {"loss", "brier"}
    assert found.scores.brier.between(0, 2).all()
    assert len(found.clients) == 6
    assert load(lab / "runs/half").strategy.unique().tolist() == ["half"]
    assert {path.name for path in (lab / "runs/half/figures").glob("*.png")} == {
        "convergence.png",
        "convergence_loss.png",
        "convergence_brier.png",
        "gap.png",
    }
    run(lab, "plots")
    assert (lab / "figures/gap.png").read_bytes() == (lab / "runs/half/figures/gap.png").read_bytes()


def test_data_are_shown(lab: Path) -> None:
    done = run(lab, "fedpers.data")
    assert (lab / "data-rings-blocks/label_distribution.png").is_file()
    assert "rings" in done.stdout


@pytest.mark.slow
def test_the_contract_is_kept(lab: Path) -> None:
    assert "strategy=half: the contract is kept" in run(lab, "fedpers.check").stdout


@pytest.mark.slow
def test_it_is_a_row_of_the_comparison(lab: Path) -> None:
    run(lab, "experiments.comparison")
    with (lab / "comparison/comparison.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["num_seeds"] for row in rows if row["method"] == "half"] == ["2", "2"]
    assert len(rows) == 2 * (len(SCALES["smoke"].arms) + 1)
    folders = list((lab / "comparison/runs").glob("half,*"))
    assert len(folders) == 2 * (2 + 2)  # conditions, seeds and learning rates
    assert all("brier" in Run(folder).metric_names for folder in folders)
