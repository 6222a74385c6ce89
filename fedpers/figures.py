"""Figures over finished runs: which are drawn, and by which functions."""

from collections.abc import Sequence
from pathlib import Path

from fedpers.config.build import is_allowed, resolve
from fedpers.errors import UserError
from fedpers.results import Run


def draw(runs: Sequence[Run], folder: Path, figures: Sequence[str], plugins: Sequence[str] = ()) -> list[Path]:
    """Draw figures over some runs and return the files.

    Raises:
        UserError: a figure does not exist or is not allowed, or cannot be drawn of these runs.
    """
    functions = [resolve(path, f"figures[{number}]", plugins) for number, path in enumerate(figures)]
    written: list[Path] = []
    for name, function in zip(figures, functions, strict=True):
        paths = function(list(runs), folder)
        if not isinstance(paths, list | tuple):
            raise UserError(f"figures: {name} returned a {type(paths).__name__}. Accepted: the list of files it wrote")
        written += paths
    return written


def listed(runs: Sequence[Run]) -> list[str]:
    """Return the figures that the runs' configurations list, or where they list none those of configs/config.yaml."""
    union = dict.fromkeys(figure for run in runs for figure in run.config.figures)
    if union:
        return list(union)
    from fedpers.config.compose import compose_config

    return compose_config([]).figures


def missing_plugin(figure: str, plugins: Sequence[str]) -> str:
    """Return the module that must be named under `plugins` before a figure is drawn; empty: none need be."""
    return "" if is_allowed(figure, plugins) else str(figure).rpartition(".")[0] or str(figure)
