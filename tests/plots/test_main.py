"""Figures as files, and the command that draws them: `python -m plots`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from pictured import write_run

from fedpers.errors import UserError
from plots import convergence
from plots.__main__ import main


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


ALL = {f"{name}.{kind}" for name in ("convergence", "client_accuracy", "label_distribution") for kind in ("png", "pdf")}


def test_the_same_runs_give_the_same_bytes_whatever_the_users_style(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=0, strategy="local")
    write_run(tmp_path / "b", seed=0)
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main([*paths, "--out", str(tmp_path / "1")]) == 0
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "savefig.dpi": 50, "savefig.bbox": "tight"}):
        before = dict(matplotlib.rcParams)
        assert main([*paths, "--out", str(tmp_path / "2")]) == 0
        assert dict(matplotlib.rcParams) == before
    first, second = snapshot(tmp_path / "1"), snapshot(tmp_path / "2")
    assert set(first) == ALL  # and no file under a temporary name
    assert first == second
    assert all(first[name].startswith(b"\x89PNG" if name.endswith("png") else b"%PDF") for name in ALL)
    assert b"CreationDate" not in first["convergence.pdf"]


def test_a_single_run_keeps_its_figures_and_every_path_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert main([str(run.folder)]) == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.name for path in printed} == ALL
    assert {path.parent for path in printed} == {run.folder / "figures"}
    assert all(path.is_file() for path in printed)


def test_several_runs_leave_their_figures_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b", strategy="local")
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 0
    assert set(snapshot(tmp_path / "figures")) == ALL


def without_rounds(folder: Path) -> Path:
    return write_run(folder, []).folder


def without_data(folder: Path) -> Path:
    run = write_run(folder)
    (folder / "clients.parquet").unlink()
    return run.folder


def never_both(folder: Path) -> Path:
    """Two seeds that were never scored in the same round."""
    write_run(folder / "0", seed=0, rounds=[[0.5]])
    write_run(folder / "1", seed=1, rounds=[[], [0.5]])
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", "holds no run"),
        (without_rounds, "holds no scored round"),
        (without_data, "holds no clients.parquet"),
        (never_both, "no round was scored in all of"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any, message: str
) -> None:
    path = make(tmp_path / "run")
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert str(path) in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")


def test_a_folder_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"figures in .*file.* cannot be written"):
        convergence.draw([write_run(tmp_path / "run")], tmp_path / "file")


def test_the_module_runs_as_a_command(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "plots", str(tmp_path / "nothing")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path / 'nothing'} holds no run")
    assert "Traceback" not in done.stderr


def test_the_configured_figures_exist_and_can_be_called_as_a_run_does(tmp_path: Path) -> None:
    from fedpers.config.build import resolve
    from fedpers.config.compose import compose_config

    run = write_run(tmp_path / "run")
    written = [
        path.name for name in compose_config([]).figures for path in resolve(name, "figures")([run], tmp_path / "out")
    ]
    assert set(written) == ALL


# which figures are drawn

PLUGIN = """
def draw(runs, folder):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.txt"
    path.write_text(str(len(runs)))
    return [path]
"""
CONVERGENCE, CLIENTS = "plots.convergence.draw", "plots.client_accuracy.draw"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a module with a figure of the user's importable and return the figure."""
    (tmp_path / "figures_of_mine.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "figures_of_mine.draw"


def stems(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()}


def test_the_runs_own_figures_are_drawn_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs/a", figures=[CLIENTS], plugins=["os"])
    write_run(tmp_path / "runs/b", strategy="local", figures=[CONVERGENCE, CLIENTS])
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert stems(tmp_path / "out") == {"client_accuracy", "convergence"}
    drawn = [Path(line).stem for line in capsys.readouterr().out.splitlines()]
    assert list(dict.fromkeys(drawn)) == ["client_accuracy", "convergence"]


def test_other_figures_can_be_chosen(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", figures=[CLIENTS])
    assert main([f"figures=[{CONVERGENCE}]", str(run.folder), "--out", str(tmp_path / "out")]) == 0
    assert stems(tmp_path / "out") == {"convergence"}


def test_a_plugins_figure_is_drawn_once_its_module_is_named(
    plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run names the module too, but a run is a file, which may come from elsewhere."""
    run = write_run(tmp_path / "run", figures=[plugin, CONVERGENCE], plugins=["figures_of_mine"])
    command = [str(run.folder), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    told = "error: figures_of_mine.draw was not drawn: it needs plugins=[figures_of_mine] on the command line\n"
    assert capsys.readouterr().err == told
    assert "figures_of_mine" not in sys.modules
    assert stems(tmp_path / "out") == {"convergence"}
    assert main([*command, "plugins=[figures_of_mine]"]) == 0
    assert (tmp_path / "out/mine.txt").read_text() == "1"
    sys.modules.pop("figures_of_mine")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["figures=plots.convergence.draw"], "is no list of names. Accepted: figures=[a.b,c.d]"),
        (["figures=[plots.no.draw]"], "there is no module 'plots.no'"),
        (["plugins=[a"], "plugins=[a"),
        (["figure=[x]"], "figure=[x] holds no run"),
    ],
)
def test_mistakes_in_keys_are_named(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert main([str(run.folder), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_command_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins=[mine]"]) == 2
    assert "no RUN is named" in capsys.readouterr().err


def test_the_default_figures_stand_in_one_place() -> None:
    root = Path(__file__).parents[2]
    sources = [path for top in ("fedpers", "plots") for path in (root / top).rglob("*.py")]
    assert not [path for path in sources if "client_accuracy.draw" in path.read_text()]
