"""Which code made a run: the commit, where the sources are under git, and a hash of what determined the numbers."""

import os
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedpers.closure import code_sha256
from fedpers.config.identity import identity, targets
from fedpers.config.keys import Config

APPS = ("fedpers.client_app", "fedpers.server_app")
"""What runs whatever the configuration names."""

SILENT = ("fedpers.closure", "fedpers.config.compose", "fedpers.progress", "fedpers.provenance")
"""What changes no number although the apps import it: it composes the configuration, shows rounds, or tells of code."""


CODE = ("strategies", "configs")
"""Folders beside fedpers whose changes, new files included, make a checkout another one than its commit."""


def provenance(config: Config) -> dict[str, Any]:
    """Return what a manifest says of a run's code: `git` (commit and dirty, or None) and `code_sha256` (or None)."""
    return {"git": git_state(), "code_sha256": run_sha256(config)}


def run_sha256(config: Config) -> str | None:
    """Return a hash of the sources that determine a run's numbers; None if they cannot be read."""
    named = targets([getattr(config, key) for key in identity(config)])
    metrics = [name for name in config.metrics if "." in name]
    return code_sha256([*named, *metrics], APPS, without=SILENT)


@lru_cache(maxsize=1)
def git_state() -> dict[str, Any] | None:
    """Return the commit of fedpers' own checkout, and whether its code differs from that; None without a checkout.

    It is asked once in a process, which goes on with the code that it has loaded.
    """
    folder = Path(__file__).resolve().parent
    if not any((parent / ".git").exists() for parent in folder.parents):
        return None
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None  # installed inside somebody else's checkout
    code = (".", *(f"../{name}" for name in CODE))
    status = _git(
        folder, "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--no-renames", "--", *code
    )
    lines = (status or "").splitlines()
    commit = next((line.rpartition(" ")[2] for line in lines if line.startswith("# branch.oid ")), "")
    if len(commit) < 40:  # no git, or no commit yet
        return None
    return {"commit": commit, "dirty": any(not line.startswith("#") for line in lines)}


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what a git command prints; None if it fails, takes too long, or there is no git."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=settings | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
