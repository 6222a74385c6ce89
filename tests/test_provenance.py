"""Which code made a run: the commit of a checkout, and a hash that a run's manifest holds."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import plugged
import pytest

from fedpers import provenance
from fedpers.config.compose import compose_config
from fedpers.provenance import SILENT, git_state, run_sha256

GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
WHO = ["-c", "user.name=a", "-c", "user.email=a@example.org"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A repository that holds a package `fedpers`; returns a function that runs git in it."""
    package = tmp_path / "repository" / "fedpers"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    git_state.cache_clear()

    def git(*arguments: str) -> str:
        command = ["git", *WHO, *arguments]
        return subprocess.run(
            command, cwd=package.parent, env=os.environ | GIT, check=True, capture_output=True, text=True
        ).stdout.strip()

    yield git
    git_state.cache_clear()


def state() -> dict[str, Any] | None:
    git_state.cache_clear()
    return git_state()


def test_a_checkout_is_named_by_its_commit_and_whether_it_differs(checkout, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    assert state() is None
    checkout("init", "-q")
    assert state() is None  # nothing is committed
    checkout("add", ".")
    assert state() is None
    checkout("commit", "-qm", "first")
    commit = checkout("rev-parse", "HEAD")
    assert state() == {"commit": commit, "dirty": False}
    (repository / "notes.txt").touch()
    assert state() == {"commit": commit, "dirty": False}  # no code
    (repository / "fedpers" / "new.py").touch()
    assert state() == {"commit": commit, "dirty": True}
    (repository / ".git" / "info" / "exclude").write_text("new.py\n")
    assert state() == {"commit": commit, "dirty": False}
    (repository / "fedpers" / "__init__.py").write_text("x = 1\n")
    assert state() == {"commit": commit, "dirty": True}


def test_a_checkout_that_fedpers_is_only_installed_in_is_not_named(checkout, tmp_path: Path) -> None:
    checkout("init", "-q")
    (tmp_path / "repository" / "thesis.txt").touch()
    checkout("add", "thesis.txt")
    checkout("commit", "-qm", "first")
    assert state() is None


def test_variables_of_another_repository_do_not_mislead(checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout("init", "-q")
    checkout("add", ".")
    checkout("commit", "-qm", "first")
    before = state()
    assert before is not None
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert state() == before


def test_without_git_there_is_no_commit(checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout("init", "-q")
    checkout("add", ".")
    checkout("commit", "-qm", "first")
    monkeypatch.setenv("PATH", "/nowhere")
    assert state() is None


def test_the_hash_follows_what_the_configuration_names() -> None:
    def sha(*overrides: str) -> str | None:
        return run_sha256(compose_config(list(overrides)))

    first = sha("strategy=fedavg")
    assert first is not None
    assert len(first) == 64
    assert first == sha("strategy=fedavg", "lr=0.5", "engine=ray", "quiet=true")
    others = ["strategy=fedd2s"], ["model=mlp"], ["dataset=glyphs"], ["partition=iid"]
    hashes = [sha("strategy=fedavg", *each) for each in others]
    assert None not in hashes
    assert len({first, *hashes}) == 1 + len(others)
    assert sha("strategy=fedavg", "model=mixed") == sha("strategy=fedavg", "model=cnn")  # which lie in one file


def test_what_changes_no_number_is_there() -> None:
    assert all(importlib.util.find_spec(name) for name in SILENT)


def test_a_run_says_which_code_made_it(federate) -> None:
    run = federate("strategy=fedavg", "rounds=1")
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["code_sha256"] == run_sha256(run.config)
    assert manifest["git"] == git_state()


def test_a_run_goes_on_when_its_code_cannot_be_told(federate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedpers.provenance.APPS", ("fedpers.nowhere",))
    run = federate("strategy=fedavg", "rounds=1")
    assert json.loads((run.folder / "manifest.json").read_text())["code_sha256"] is None
    assert run.summary["last"]["test"]["personal"]["num_clients"] == 4


def test_a_plugins_metric_is_part_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = plugged.writer(tmp_path, monkeypatch, ["scored_by"])
    put("scored_by.py", "def ones(labels, logits):\n    return 1.0\n")
    config = compose_config(["strategy=local", "plugins=[scored_by]", "metrics=[accuracy,scored_by.ones]"])
    before = run_sha256(config)
    assert before not in (None, run_sha256(compose_config(["strategy=local"])))
    put("scored_by.py", "def ones(labels, logits):\n    return 2.0\n")
    assert run_sha256(config) not in (None, before)
