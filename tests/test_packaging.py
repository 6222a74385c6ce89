"""A built wheel, installed elsewhere, runs from an empty directory: its configurations travel in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "-q", *arguments], check=True, capture_output=True, text=True)


@pytest.mark.slow
def test_wheel_runs_from_an_empty_directory(tmp_path: Path) -> None:
    dist, site, empty = tmp_path / "dist", tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(dist), str(ROOT))
    (wheel,) = dist.glob("fedpers-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {f"fedpers/{name}" for name in configs} <= set(names)
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "fedpers",
        "strategies",
        "experiments",
        "plots",
    }
    pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    environment = {**os.environ, "PYTHONPATH": str(site), "FEDPERS_CACHE": str(tmp_path / "cache")}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=empty, env=environment, capture_output=True, text=True, timeout=120
        )

    where = run(
        "-c", "import fedpers, fedpers.config.compose as c; print(fedpers.__file__, c.config_folders()[-1])"
    ).stdout
    assert where.split() == [str(site / "fedpers/__init__.py"), str(site / "fedpers/configs")]
    finished = run("-m", "fedpers.run", "rounds=1", "out=here")
    assert finished.returncode == 0, finished.stderr
    assert (empty / "here/summary.json").is_file()
    assert (empty / "here/figures/convergence.png").is_file()
    assert run("-m", "plots", "here", "--out", "drawn").returncode == 0
    assert (empty / "drawn/convergence.pdf").is_file()
