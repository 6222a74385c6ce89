"""Test accuracy against rounds: how fast, and how evenly, clients get better."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedpers.results import Run
from plots import style
from plots.groups import Group, group_runs

BAND = (0.25, 0.75)
"""Quantiles over clients that the band lies between: the central half is legible even where bands overlap."""

FEW_ROUNDS = 12  # up to so many, a marker shows where the model was scored
_OTHERS = {"global": ("global", "#555555", "--"), "finetuned": ("fine-tuned", "#009E73", ":")}


def figure(runs: Sequence[Run]) -> Figure:
    """Build the figure: a curve for each group of runs; a single group also shows its other models.

    Raises:
        UserError: a run holds no scored round.
    """
    groups = group_runs(list(runs))
    with style.context():
        made = style.new_figure()
        axes = made.add_subplot()
        handles: list[Artist] = []
        single = len(groups) == 1
        for group in groups:
            label = "personal" if single else group.label
            handles.append(curve(axes, group.personal_accuracy(), label, group.color, group.line))
        handles += _other_models(axes, groups[0]) if single else []
        share = f"{100 * (BAND[1] - BAND[0]):.0f} %"
        note = f"mean over clients, band: central {share} of clients"
        style.legend(made, handles, f"{groups[0].label}: {note}" if single else note[0].upper() + note[1:])
        axes.set_xlabel("round")
        axes.set_ylabel("personal test accuracy (%)" if len(handles) == len(groups) else "test accuracy (%)")
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        axes.margins(x=0.02)
        left, right = axes.get_xlim()
        if right - left < 1:  # a single round: there would be fractions of rounds on the axis
            axes.set_xlim((left + right) / 2 - 1, (left + right) / 2 + 1)
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, 0), min(top, 100.5))
    return made


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


def _other_models(axes: Axes, group: Group) -> list[Artist]:
    """Draw thin lines for the models that some strategies have besides the personal ones."""
    handles: list[Artist] = []
    for model, (label, color, line) in _OTHERS.items():
        table = group.accuracy(model)
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
    """Write convergence.png and convergence.pdf.

    Raises:
        UserError: a run holds no scored round, or the folder cannot be written.
    """
    return style.save(figure(runs), folder, "convergence")
