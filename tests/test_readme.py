"""The README and the docs say what is true: their commands compose, their links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedpers.config.compose import compose_config, sweep
from fedpers.planning import OWN

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    """Every `python -m fedpers.run ...` in an indented or fenced block."""
    lines = [line.strip() for page in PAGES for line in page.read_text().splitlines()]
    starts = re.compile(r"^(?:\S*/)?python -m fedpers\.run\b(.*)$")
    found = [match[1].split("   ")[0].strip() for line in lines if (match := starts.match(line))]
    return [text for text in dict.fromkeys(found) if "[" not in text.split("=")[0] and "--config-dir" not in text]


@pytest.mark.parametrize("text", commands())
def test_command_composes(text: str) -> None:
    words = text.split()
    if "--help" in words:
        return
    overrides = [word for word in words if word not in ("--multirun", "-m") and word.partition("=")[0] not in OWN]
    for job in sweep(overrides) if {"--multirun", "-m"} & set(words) else [overrides]:
        assert compose_config(job).rounds >= 1


def test_readme_shows_several_commands() -> None:
    assert len(commands()) >= 6


def test_first_screen_holds_two_commands_and_a_picture() -> None:
    screen = "\n".join(README.splitlines()[:40])
    assert "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/python -m fedpers.run" in screen
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest -n 2" in screen
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", screen)
    assert (ROOT / picture).stat().st_size < 1_000_000


def test_ci_runs_the_readmes_test_command() -> None:
    command = next(line.strip() for line in README.splitlines() if line.strip().endswith("python -m pytest -n 2"))
    assert command in (ROOT / ".ci/run").read_text().splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_examples_in_contributing_are_python() -> None:
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL):
        namespace: dict[str, object] = {"__name__": "example"}
        exec(compile(block, "CONTRIBUTING.md", "exec"), namespace)
        assert "FedBias" in namespace


@pytest.mark.slow
def test_the_example_in_contributing_runs_from_outside(tmp_path: Path) -> None:
    """As a module and a YAML of one's own, in a folder of one's own."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (code,), (spec,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "yaml"))
    (tmp_path / "my_configs" / "strategy").mkdir(parents=True)
    (tmp_path / "my_package.py").write_text(code)
    own = spec.replace("strategies.fedbias.", "my_package.")
    (tmp_path / "my_configs" / "strategy" / "mine.yaml").write_text(own)
    (command,) = re.findall(r"^    python -m (fedpers\.run --config-dir .*)$", text, re.MULTILINE)
    small = ["rounds=2", "partition=iid", "partition.num_clients=3", "out=run", "cache=cache", "quiet=true"]
    shown = subprocess.run(
        [sys.executable, "-m", *command.split(), *small],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "test accuracy" in shown.stderr
    assert (tmp_path / "run" / "summary.json").is_file()
