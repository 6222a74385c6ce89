"""Files with the names of our packages in the current directory: ours are run, or a message names theirs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from federations import TINY
from quickly import mostly_slow

from fedpers import siblings

ROOT = Path(__file__).parent.parent
THEIRS = "raise SystemExit('this is mine')\n"
FORMS = (
    "plots.py",
    "plots/__init__.py",
    "plots/notes.txt",
    "strategies.py",
    "strategies/__init__.py",
    "strategies/notes.txt",
    "experiments.py",
    "experiments/__init__.py",
    "experiments/notes.txt",
)
QUICK = ("plots.py",)
PLUGIN = """
import numbers_of_mine
from fedpers.algorithm import Algorithm
from strategies.fedavg import FedAvg

class Mine(FedAvg):
    pass
"""


def write(folder: Path, form: str) -> Path:
    """Write the user's file and return it."""
    path = folder / form
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(THEIRS)
    return path


def python(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, where our packages are found after those in the folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FEDPERS_CACHE": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def small(out: str) -> list[str]:
    drawn = "figures=[plots.convergence.draw]"
    return [text for text in TINY if not text.startswith("figures")] + ["rounds=1", "quiet=true", drawn, f"out={out}"]


@pytest.mark.parametrize("form", mostly_slow(FORMS, QUICK))
def test_ours_are_run_whatever_lies_here(form: str, tmp_path: Path) -> None:
    """A run with a plugin from here, its figures again, and a study's help: processes of their own."""
    write(tmp_path, form)
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "numbers_of_mine.py").write_text("")
    own = ["strategy=fedavg", "strategy._target_=mine.Mine", "plugins=[mine]"]
    made = python(tmp_path, "-m", "fedpers.run", *small("run"), *own)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "run/figures/convergence.png").is_file()
    drawn = python(tmp_path, "-m", "fedpers", "plots", "run", "--out", "drawn")
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "drawn/convergence.png").is_file()
    if "experiments" in form:
        told = python(tmp_path, "-m", "fedpers", "experiments.ablation", "--help")
        assert told.stdout.startswith("Which parts of FedD2S contribute"), told.stderr


@pytest.mark.parametrize("form", mostly_slow(FORMS, QUICK))
@pytest.mark.parametrize(
    ("command", "first"), [("plots", "usage: python -m plots"), ("experiments.ablation", "Which parts of FedD2S")]
)
@pytest.mark.slow
def test_what_python_decides_before_us(command: str, first: str, form: str, tmp_path: Path) -> None:
    """`python -m plots` runs the user's module or package `plots`, but no mere folder; with -P it runs ours."""
    write(tmp_path, form)
    done = python(tmp_path, "-m", command, "--help")
    if form.endswith(".py") and form.startswith(command.partition(".")[0]):
        assert done.returncode == 1
        assert "this is mine" in done.stderr
        done = python(tmp_path, "-P", "-m", command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(first)


@pytest.mark.slow
def test_a_studys_worker_processes_find_ours_and_the_users(tmp_path: Path) -> None:
    for form in ("plots.py", "strategies.py", "experiments.py"):
        write(tmp_path, form)
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "numbers_of_mine.py").write_text("")
    (tmp_path / "my_study.py").write_text(STUDY)
    done = python(tmp_path, "-c", DRIVER)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out/runs").glob("*/summary.json"))) == 2


STUDY = """
from experiments.machinery.scales import DIGITS
from experiments.machinery.study import Arm, Condition, Scale, Study

MINE = Arm("Mine", ("strategy=fedavg", "strategy._target_=mine.Mine", "rounds=1"))
STUDY = Study("toy", "Does it run?", {"smoke": Scale(DIGITS, (MINE,), (Condition(""),), (0, 1))}, lambda f, g: [])
"""
DRIVER = """
import sys
from fedpers import siblings
siblings.claim()
from experiments.machinery.command import main
from my_study import STUDY
sys.exit(main(STUDY, ["jobs=2", "out=out", "plugins=[mine]"]))
"""


@pytest.mark.slow
def test_a_module_of_theirs_that_is_missed_is_named(tmp_path: Path) -> None:
    theirs = write(tmp_path, "strategies/mine.py")
    done = python(
        tmp_path, "-m", "fedpers.run", *small("run"), "strategy=fedavg", "strategy._target_=strategies.mine.M"
    )
    assert done.returncode == 2
    assert "there is no module 'strategies.mine'" in done.stderr
    assert f"'strategies' is a package of fedpers, not {theirs.parent}: rename that one" in done.stderr


def test_theirs_that_was_imported_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "plots.py").write_text("")
    program = "import plots, sys; from fedpers.run import main; sys.exit(main(sys.argv[1:]))"
    done = python(tmp_path, "-c", program, *small("run"))
    assert done.returncode == 2
    assert f"'plots' is a package of fedpers, not {tmp_path / 'plots.py'}: rename that one" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_library_leaves_their_names_alone(tmp_path: Path) -> None:
    """Whoever only reads results keeps a module `plots`; the path, and other modules' places, stay as they are."""
    (tmp_path / "plots.py").write_text("MINE = 1")
    done = python(tmp_path, "-c", "import fedpers.results, plots; print(plots.MINE)")
    assert done.stdout == "1\n", done.stderr
    program = "import sys; b = sys.path[:], sys.meta_path[:]; from fedpers import siblings; siblings.claim()\n"
    program += "assert b == (sys.path, sys.meta_path); import plots; print(plots.__file__)"
    assert python(tmp_path, "-c", program).stdout == f"{ROOT / 'plots/__init__.py'}\n"


def test_no_rival_here() -> None:
    assert [siblings.rival(name) for name in (*siblings.NAMES, "torch")] == [""] * 4


@pytest.mark.parametrize("name", ["plot", "os", "experiments.comparisn", "fedpers.run", ".", "plots..x"])
def test_a_command_that_does_not_exist(name: str, tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "fedpers", name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: unknown command {name!r}")
    assert "Traceback" not in done.stderr


def test_commands_are_run_by_name(tmp_path: Path) -> None:
    assert python(tmp_path, "-m", "fedpers").returncode == 2
    told = python(tmp_path, "-m", "fedpers", "--help")
    assert (told.returncode, told.stderr) == (0, "")
    assert "python -m fedpers NAME" in told.stdout
    done = python(tmp_path, "-m", "fedpers", "data", "digits", "iid", "partition.num_clients=3", "out=look")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "look/sizes.png").is_file()


@pytest.mark.slow
def test_rays_workers_find_ours(tmp_path: Path) -> None:
    for form in ("plots.py", "strategies.py", "experiments.py"):
        write(tmp_path, form)
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "numbers_of_mine.py").write_text("")
    own = ["engine=ray", "engine.num_workers=1", "strategy=fedavg", "strategy._target_=mine.Mine", "plugins=[mine]"]
    done = python(tmp_path, "-m", "fedpers.run", *small("run"), *own)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/figures/convergence.png").is_file()
