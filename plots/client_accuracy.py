"""Accuracy of each client in the last round, from the worst to the best: who is served how well."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fedpers.results import Run
from plots import style
from plots.groups import Group, group_runs

Values = NDArray[np.float64]


def figure(runs: Sequence[Run]) -> Figure:
    """Build the figure: a curve for each group of runs, over the clients of all its seeds.

    Raises:
        UserError: a run holds no scored round.
    """
    groups = group_runs(list(runs))
    last = {group.name: _last_round(group) for group in groups}
    rounds = {number for number, _ in last.values()}
    with style.context():
        made = style.new_figure()
        axes = made.add_subplot()
        handles = []
        for group in groups:
            number, values = last[group.name]
            label = f"{group.label}: {values.mean():.1f} %"
            label += f" after round {number}" if len(rounds) > 1 else ""
            label += _missing(group, values)
            handles.append(_curve(axes, values, label, group))
        after = f" after round {rounds.pop()}" if len(rounds) == 1 else ""
        style.legend(made, handles, f"♦ and number: mean over clients{after}")
        axes.set_xlabel("share of clients, from worst to best (%)")
        axes.set_ylabel("personal test accuracy (%)")
        axes.set_xlim(0, 100)
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, 0), min(top, 101))
    return made


def _last_round(group: Group) -> tuple[int, Values]:
    """Return the last round that all seeds have and the sorted accuracies of the clients that answered."""
    table = group.personal_accuracy()
    values = np.sort(table.iloc[-1].dropna().to_numpy(dtype=np.float64))
    return int(table.index[-1]), values


def _missing(group: Group, values: Values) -> str:
    """Return what a label says when clients failed, whose absence would flatter the curve."""
    expected = group.num_clients
    return f", {expected - len(values)} of {expected} clients failed" if len(values) < expected else ""


def _curve(axes: Axes, values: Values, label: str, group: Group) -> Artist:
    """Draw one step a client, and the mean where the curve passes it."""
    edges = np.linspace(0, 100, len(values) + 1)
    steps = axes.stairs(
        values, edges, baseline=None, color=group.color, linestyle=group.line, linewidth=1.4, label=label
    )
    mean = values.mean()
    crossing = edges[np.searchsorted(values, mean)] if np.ptp(values) > 0 else 50.0
    axes.plot([crossing], [mean], marker="D", markersize=4.5, color=group.color, markeredgecolor="white", zorder=3)
    return steps


def draw(runs: list[Run], folder: Path) -> list[Path]:
    """Write client_accuracy.png and client_accuracy.pdf.

    Raises:
        UserError: a run holds no scored round, or the folder cannot be written.
    """
    return style.save(figure(runs), folder, "client_accuracy")
