"""Paths with any character, at every door: keys, `--config-dir`, the current directory, home."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from federations import TINY
from ondisk import write_image_folder
from quickly import mostly_slow

from experiments.machinery.command import main as conduct
from experiments.machinery.scales import DIGITS, LOCAL
from experiments.machinery.study import Condition, Scale, Study
from fedpers import run
from fedpers.config.compose import compose_config, sweep
from fedpers.config.keys import Config, is_path
from fedpers.data import __main__ as data
from fedpers.engines.flower.engine import _toml
from fedpers.planning import plan
from fedpers.results import Run
from plots.__main__ import main as plot

ROOT = Path(__file__).parent.parent
NAMES = ("josé", "a,b", "it's", "x=1", "c[1]", "v (2)", "c#1")
ALL = "josé a,b it's x=1 c[1] v (2) c#1 ${x}"
ODD = (
    *NAMES,
    ALL,
    "${seed}",
    "${oc.env:HOME}",
    "\\${x}",
    "\\\\${x}\\",
    "${",
    "it\\'s",
    "\\",
    'say "hi"',
    '"a" or "b"',
    "a:b",
    "a://b",
    "{a}",
    " a ",
    "1e3",
    "true",
    "???",
    "*",
    "😀",
    "a\nb",
)
SMALL = [text for text in TINY if not text.startswith("partition")]
SMALL += ["rounds=1", "quiet=true", "strategy=fedavg", "partition=iid", "partition.num_clients=2"]

TOY = Study(
    name="toy",
    question="Does it run?",
    scales={"smoke": Scale((*DIGITS, "rounds=1"), (LOCAL,), (Condition(""),), (0,))},
    draw=lambda found, folder: [],
)


def images(folder: Path) -> str:
    """Write a folder of images and return its path."""
    write_image_folder(folder, ("train",), ("cat", "dog"), each=12, side=8)
    return str(folder)


def own_model(folder: Path) -> str:
    """Write a folder of configurations with a model called `mine` and return its path."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "mine.yaml").write_text((ROOT / "configs/model/mlp.yaml").read_text())
    return str(folder)


@pytest.mark.parametrize("name", ODD)
def test_a_path_is_taken_as_it_was_typed(name: str) -> None:
    given = [f"out={name}", f"++cache=/{name}", "dataset=image_folder", f"dataset.root={name}/"]
    config = compose_config(given)
    assert (config.out, config.cache, config.dataset["root"]) == (name, f"/{name}", f"{name}/")
    assert sweep(["seed=0,1", *given]) == [["seed=0", *given], ["seed=1", *given]]


def test_quoted_for_hydra_and_null_are_what_they_were() -> None:
    for text in ("""out='a,b'""", '''out="a,b"'''):
        assert compose_config([text]).out == "a,b"
    assert compose_config(["seed=3", 'out="runs/${seed}"']).out == "runs/3"
    assert compose_config([r"out='it\'s'"]).out == "it's"
    assert compose_config(["out=null"]).out is None
    assert compose_config(["cache=~/x"]).cache == "~/x"  # expanded where it is opened


def test_which_keys_are_paths() -> None:
    assert {key for key in Config.__dataclass_fields__ if is_path(key)} == {"out", "cache", "init"}
    assert all(is_path(f"dataset.{name}") for name in ("root", "file", "folder", "path"))
    assert not any(map(is_path, ("root", "model.out", "dataset.size", "roots", "~out", "dataset.parts")))


def test_other_values_stay_hydras(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["precision=it's"]) == 2
    error = capsys.readouterr().err
    assert "precision=it's" in error
    assert """Quote values with special characters: 'key="value"'""" in error


@pytest.mark.parametrize("name", mostly_slow([*NAMES, ALL], [ALL]))
def test_every_door(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The current directory, out, cache, dataset.root, --config-dir: all called so; then figures of the run."""
    here = tmp_path / name
    here.mkdir()
    monkeypatch.chdir(here)
    images(here / "files" / name)
    own_model(here / "own" / name)
    keys = ["dataset=image_folder", f"dataset.root=files/{name}", "dataset.parts=[train]", "model=mine"]
    keys = [*SMALL, *keys, f"cache=cache/{name}", "model.hidden=[8,6]"]
    assert run.main(["--config-dir", f"own/{name}", *keys, f"out=out/{name}"]) == 0, capsys.readouterr().err
    found = Run(here / "out" / name)
    assert (here / "out" / name / "summary.json").is_file()
    assert found.config.dataset["root"] == f"files/{name}"
    assert {path.name.partition("-")[0] for path in (here / "cache" / name).iterdir()} == {name, "sources"}
    assert plot([f"out/{name}", "figures=[plots.convergence.draw]", "--out", f"drawn/{name}"]) == 0
    assert (here / "drawn" / name / "convergence.png").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_multirun_sweeps_over_other_keys_only(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = plan([f"out={name}", "seed=0,1"], True, None).jobs
    assert {job.name: job.config.out for job in jobs} == {f"seed={n}": f"{name}/seed={n}" for n in (0, 1)}


@pytest.mark.parametrize("name", mostly_slow([*NAMES, ALL], [ALL]))
def test_data_by_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / name))
    monkeypatch.delenv("FEDPERS_CACHE", raising=False)
    images(tmp_path / "files" / name)
    (tmp_path / name / "dataset").mkdir(parents=True)
    mine = (ROOT / "configs/dataset/image_folder.yaml").read_text()
    (tmp_path / name / "dataset" / "mine.yaml").write_text(mine)
    keys = ["partition.num_clients=2", f"dataset.root=files/{name}", "dataset.parts=[train]", f"out=out/{name}"]
    assert data.main(["mine", "iid", *keys, "--config-dir", "~"]) == 0
    assert (tmp_path / "out" / name / "images.png").is_file()
    assert (tmp_path / name / ".cache" / "fedpers").is_dir()  # the cache of somebody whose home is called so


def test_a_study_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / ALL
    here.mkdir()
    monkeypatch.chdir(here)
    images(here / "files" / ALL)
    own_model(here / "own" / ALL)
    keys = ["dataset=image_folder", f"dataset.root=files/{ALL}", "dataset.parts=[train]", "model=mine"]
    keys += ["partition=iid", "partition.num_clients=2", "partition.max_samples=null"]
    assert conduct(TOY, [*keys, f"out=out/{ALL}", f"cache={ALL}", "--config-dir", f"own/{ALL}"]) == 0
    assert (here / "out" / ALL / "runs" / "local,seed=0" / "summary.json").is_file()
    page = (here / "out" / ALL / "toy.md").read_text()
    assert "--config-dir" in page


@pytest.mark.slow
def test_fedpers_itself_may_lie_anywhere(tmp_path: Path) -> None:
    """A checkout in a folder called so, as a process of its own that stands in another one."""
    (tmp_path / ALL).mkdir()
    for name in ("fedpers", "strategies", "plots", "experiments", "configs"):
        (tmp_path / ALL / name).symlink_to(ROOT / name)
    here = tmp_path / NAMES[0] / ALL
    here.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / ALL)}
    command = [sys.executable, "-m", "fedpers.run", *SMALL, "dataset=digits", "partition.max_samples=60"]
    command += ["model.hidden=[8,6]", f"out={ALL}", f"cache={ALL}-cache"]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (here / ALL / "summary.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "flower"])
def test_engines_with_processes_of_their_own(engine: str, tmp_path: Path) -> None:
    here = tmp_path / ALL
    (here / ALL).mkdir(parents=True)
    images(here / "files" / ALL)
    command = [sys.executable, "-m", "fedpers.run", *SMALL, f"engine={engine}", "dataset=image_folder"]
    command += [f"dataset.root=files/{ALL}", "dataset.parts=[train]", "model.hidden=[8,6]"]
    command += [f"out=out/{ALL}", f"cache=cache/{ALL}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(here / ALL)}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (here / "out" / ALL / "summary.json").is_file()


@pytest.mark.parametrize("name", [*ODD, "\x7f"])
def test_what_flower_is_told_is_toml(name: str) -> None:
    assert tomllib.loads(_toml({"prepared": name, "config": Config(out=name).to_json()})) == {
        "prepared": name,
        "config": Config(out=name).to_json(),
    }
