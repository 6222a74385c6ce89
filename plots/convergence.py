"""Test accuracy against rounds: how fast, and how evenly, clients get better; likewise every other metric."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedpers.results import Run
from plots import style
from plots.groups import Group, families, file_name, group_runs, wording

BAND = (0.25, 0.75)
"""Quantiles over clients that the band lies between: the central half is legible even where bands overlap."""

FEW_ROUNDS = 12  # up to so many, a marker shows where the model was scored
_OTHERS = {"global": ("global", "#555555", "--"), "finetuned": ("fine-tuned", "#009E73", ":")}


def figure(runs: Sequence[Run], metrics: Sequence[str] = ("accuracy",)) -> Figure:
    """Build the figure: a curve for each group of runs; a single group also shows its other models.

    Args:
        runs: The runs.
        metrics: What is drawn, a panel each: one metric, or those of one family.

    Raises:
        UserError: a run holds no scored round.
    """
    groups = [group for group in group_runs(list(runs)) if any(map(group.has, metrics))]
    single = len(groups) == 1
    with style.context():
        made, panels = style.new_panels(len(metrics))
        handles: dict[str, Artist] = {}
        for axes, metric in zip(panels, metrics, strict=True):
            handles = _panel(axes, groups, metric) | handles
            if len(metrics) > 1:
                axes.set_title(metric.partition("/")[2])
        share = f"{100 * (BAND[1] - BAND[0]):.0f} %"
        note = f"mean over clients, band: central {share} of clients"
        style.legend(made, [*handles.values()], f"{groups[0].label}: {note}" if single else note[0].upper() + note[1:])
        personal = "personal " if len(handles) == len(groups) else ""
        style.label_axes(made, panels, "round", f"{personal}test {wording(metrics[0])}")
    return made


def _panel(axes: Axes, groups: Sequence[Group], metric: str) -> dict[str, Artist]:
    """Draw one metric and return the curves by label."""
    single, handles = len(groups) == 1, list[Artist]()
    for group in groups:
        if group.has(metric):
            table = group.personal(metric)
            label = ("personal" if single else group.label) + (_missing(group, table) if metric == "accuracy" else "")
            handles.append(curve(axes, table, label, group.color, group.line))
    handles += _other_models(axes, groups[0], metric) if single else []
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    axes.margins(x=0.02)
    left, right = axes.get_xlim()
    if right - left < 1:  # a single round: there would be fractions of rounds on the axis
        axes.set_xlim((left + right) / 2 - 1, (left + right) / 2 + 1)
    style.fit_axis(axes, 100.5 if metric == "accuracy" else math.inf)
    return {str(handle.get_label()): handle for handle in handles}


def _missing(group: Group, table: pd.DataFrame) -> str:
    """Return how many clients are missing where most are, for a label; empty: none in any round."""
    fewest, expected = int(table.notna().sum(axis=1).min()), group.num_clients
    return f", up to {expected - fewest} of {expected} clients failed" if fewest < expected else ""


def curve(axes: Axes, table: pd.DataFrame, label: str, color: str, line: str) -> Artist:
    """Draw the mean over clients and the band."""
    low, high = (table.quantile(share, axis=1) for share in BAND)
    marker = "o" if len(table) <= FEW_ROUNDS else ""
    (drawn,) = axes.plot(
        table.index, table.mean(axis=1), color=color, linestyle=line, label=label, marker=marker, markersize=3
    )
    if len(table) > 1:
        axes.fill_between(table.index, low, high, color=color, alpha=0.15, linewidth=0)
    else:  # an area over a single round would have no width
        axes.vlines(table.index, low, high, color=color, alpha=0.3, linewidth=4)
    return drawn


def _other_models(axes: Axes, group: Group, metric: str) -> list[Artist]:
    """Draw thin lines for the models that some strategies have besides the personal ones."""
    handles: list[Artist] = []
    for model, (label, color, line) in _OTHERS.items():
        table = group.values(model, metric)
        if not table.empty:
            means = table.mean(axis=1)
            marker = "o" if len(table) <= FEW_ROUNDS else ""
            handles += axes.plot(
                means.index,
                means,
                color=color,
                linestyle=line,
                label=label,
                linewidth=0.9,
                marker=marker,
                ms=2,
            )
    return handles


def draw(runs: list[Run], folder: Path) -> list[Path]:
    """Write convergence.png and .pdf, which show the accuracy, and convergence_loss and so on for every other metric.

    Raises:
        UserError: a run holds no scored round, or the folder cannot be written.
    """
    name = "convergence"
    return [
        path
        for family, metrics in families(runs).items()
        for path in style.save(
            figure(runs, metrics), folder, name if family == "accuracy" else f"{name}_{file_name(family)}"
        )
    ]
