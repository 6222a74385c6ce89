"""Fixtures: composed configurations, finished runs, and a federation over a three-parameter model."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from federations import TINY, serve
from flwr.serverapp import Grid

from fedpers.config.compose import compose_config
from fedpers.config.keys import Config
from fedpers.results import Run
from fedpers.run import main

with contextlib.suppress(ImportError):  # an older PyTorch has no devices written in Python
    from fedpers import emulated  # noqa: F401 - before the first gradient, when PyTorch counts its devices


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data, shared by all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def config(cache: Path, tmp_path: Path) -> Callable[..., Config]:
    """Compose a small federation: digits, 4 clients, 3 rounds; overrides come on top."""

    def make(*overrides: str) -> Config:
        named = {text.partition("=")[0] for text in overrides}
        base = [text for text in TINY if text.partition("=")[0] not in named]
        base = [text for text in base if not ("model" in named and text.startswith("model."))]
        composed = compose_config([*base, f"cache={cache}", *overrides])
        return composed if composed.out else dataclasses.replace(composed, out=str(tmp_path / "run"))

    return make


@pytest.fixture
def federate(config: Callable[..., Config], tmp_path: Path) -> Callable[..., Run]:
    """Run a small federation to its end and open its results."""

    def run(*overrides: str, wrap: Callable[[Grid], Grid] = lambda grid: grid) -> Run:
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        return serve(config(f"out={folder}", *overrides), wrap)

    return run


@pytest.fixture
def cli(cache, tmp_path, capsys, monkeypatch):  # type: ignore[no-untyped-def]
    """Run the command line in an empty directory; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPERS_CACHE", str(cache))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        return code, *capsys.readouterr()

    return run
