"""Algorithms, models and modules from outside, at the doors of studies and of `fedpers.data`."""

import csv
import dataclasses
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import comparison
from experiments.machinery.command import joined, main, read
from experiments.machinery.study import Study
from fedpers.config.compose import group_choices
from fedpers.data.__main__ import main as look
from fedpers.errors import UserError

ROOT = Path(__file__).parents[3]
YAML = "# python -m fedpers.run strategy=mine\n# Mine: as FedAvg\n_target_: of_mine.Mine\n"
MODULE = """
from fedpers.models.mlp import mlp
from strategies.fedavg import FedAvg

class Mine(FedAvg):
    pass


def wide(shape: tuple[int, ...], num_classes: int, hidden: tuple[int, ...]):
    return mlp(shape, num_classes, hidden=hidden)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a module and a folder of configurations of one's own."""
    (tmp_path / "own/strategy").mkdir(parents=True)
    (tmp_path / "own/strategy/mine.yaml").write_text(YAML)
    (tmp_path / "of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def few(study: Study) -> Study:
    """Keep two arms of the smallest scale; what joins comes on top."""
    scale = study.scales["smoke"]
    kept = tuple(arm for arm in scale.arms if arm.name in ("Local", "FedAvg"))
    small = dataclasses.replace(scale, arms=kept, conditions=scale.conditions[:1])
    return dataclasses.replace(study, scales={"smoke": small})


def test_an_algorithm_from_outside_is_a_row_of_the_comparison(here: Path, cache: Path) -> None:
    arguments = ["--config-dir", "own", "plugins=[of_mine]", "rounds=1", "out=out", f"cache={cache}"]
    assert main(few(comparison.STUDY), arguments) == 0
    with (here / "out/comparison.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["method"] for row in rows] == ["Local", "FedAvg", "mine"]
    assert rows[1]["accuracy_mean"] == rows[2]["accuracy_mean"]  # it is FedAvg
    assert rows[2]["num_seeds"] == "2"
    page = (here / "out/comparison.md").read_text()
    assert "python -m experiments.comparison 'plugins=[of_mine]'" in page
    assert "--config-dir own" in page


def test_it_is_tuned_as_the_others_at_every_scale(here: Path) -> None:
    for name, scale in joined(comparison.STUDY, "own").scales.items():
        grids = {arm.name: dict(arm.grid) for arm in scale.arms}
        assert grids["mine"] == {"lr": grids["Local"]["lr"]}
        assert len(scale.arms) == len(comparison.SCALES[name].arms) + 1


@pytest.mark.parametrize(("name", "enters"), [("comparison", True), ("convergence", True), ("fine_tuning", False)])
def test_help_shows_it_where_it_enters(name: str, enters: bool, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study: Study = importlib.import_module(f"experiments.{name}").STUDY
    assert main(study, ["--help", "--config-dir", "own"]) == 0
    arms = capsys.readouterr().out.partition("Arms: ")[2].splitlines()[0]
    assert arms.endswith("; mine") == enters
    assert main(study, ["--help"]) == 0
    assert "mine" not in capsys.readouterr().out.partition("Arms: ")[2]


def test_its_module_has_to_be_named(here: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(few(comparison.STUDY), ["--config-dir", "own", "out=out", f"cache={cache}"]) == 2
    assert "'of_mine.Mine' is not allowed" in capsys.readouterr().err
    assert not (here / "out").exists()


def test_names_are_checked(here: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = few(comparison.STUDY)
    for arguments, told in (
        (["--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder"),
        (["--config-dir", "own", "model=mine"], "unknown model 'mine'"),
        (["--config-dir", "own", "dataset=digit"], "Did you mean 'digits'?"),
    ):
        assert main(study, [*arguments, "out=out", f"cache={cache}"]) == 2
        assert told in capsys.readouterr().err
    (here / "own/strategy/FedAvg.yaml").write_text(YAML)
    with pytest.raises(UserError, match="a method of this study is called 'FedAvg' already"):
        joined(study, "own")
    (here / "own/strategy/fedavg.yaml").write_text(YAML)
    with pytest.raises(UserError, match=r"own/strategy/fedavg\.yaml has the name of a strategy of fedpers"):
        group_choices("strategy", "own")


def test_a_checkouts_own_folder_is_no_folder_from_outside() -> None:
    assert joined(comparison.STUDY, str(ROOT / "configs")).scales == comparison.STUDY.scales


def test_the_command_is_written_down_with_its_folder() -> None:
    options = read(comparison.STUDY, ["jobs=2"], "my configs")
    assert options.command == "python -m experiments.comparison jobs=2 --config-dir 'my configs'"
    assert read(comparison.STUDY, ["jobs=2"]).config_dir is None


def test_data_from_outside(here: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "own/dataset").mkdir()
    (here / "own/dataset/mine.yaml").write_text("_target_: data_of_mine.load\nmean: null\nstd: null\n")
    (here / "data_of_mine.py").write_text(
        "from fedpers.data.datasets.digits import digits\ndef load(mean, std):\n    return digits(mean=mean, std=std)\n"
    )
    command = ["mine", "iid", "partition.num_clients=3", f"cache={cache}", "out=look", "--config-dir", "own"]
    assert look(command) == 2
    assert "'data_of_mine.load' is not allowed" in capsys.readouterr().err
    assert look([*command, "plugins=[data_of_mine]"]) == 0
    assert (here / "look/images.png").is_file()
    assert look(["mien", *command[1:]]) == 2
    assert "Did you mean 'mine'?" in capsys.readouterr().err


@pytest.mark.slow
def test_worker_processes_of_a_real_command_find_it(here: Path, cache: Path) -> None:
    """With a model, in a shorter study than the comparison."""
    (here / "own/model").mkdir()
    (here / "own/model/wide.yaml").write_text("_target_: of_mine.wide\nhidden: [16, 16]\n")
    command = [sys.executable, "-m", "experiments.heterogeneity", "jobs=2", "model=wide", "model.hidden=[16,16]"]
    command += ["--config-dir", "own", "plugins=[of_mine]", "rounds=1", "out=out", f"cache={cache}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert (here / "out/heterogeneity.csv").is_file()
