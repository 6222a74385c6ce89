"""Accuracy of each client in the last round, from the worst to the best: who is served how well.

Every other metric that the runs have is drawn likewise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fedpers.results import Run
from plots import style
from plots.groups import Group, families, file_name, group_runs, wording

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Last:
    """What the clients of a group have in the last round that all of its seeds have.

    Args:
        group: The group.
        metric: What is shown.
        round: The round.
        values: Of the clients that have a value, from the worst to the best.
    """

    group: Group
    metric: str
    round: int
    values: Values

    @classmethod
    def of(cls, group: Group, metric: str) -> "Last":
        """Read and sort."""
        table = group.personal(metric)
        values = np.sort(table.iloc[-1].dropna().to_numpy(dtype=np.float64))
        falls = any(metric.partition("/")[0] in run.smaller_is_better for run in group.runs)
        return cls(group, metric, int(table.index[-1]), values[::-1] if falls else values)

    def label(self, *, with_round: bool) -> str:
        """Return the group's name, the mean, and how many clients are missing, which would flatter the curve."""
        percent, expected, missing = self.metric == "accuracy", self.group.num_clients, ""
        if len(self.values) < expected:
            without = "failed" if percent else "have none"
            missing = f", {expected - len(self.values)} of {expected} clients {without}"
        mean = f"{self.values.mean():.1f} %" if percent else f"{self.values.mean():.3g}"
        return f"{self.group.label}: {mean}" + (f" after round {self.round}" if with_round else "") + missing


def figure(runs: Sequence[Run], metrics: Sequence[str] = ("accuracy",)) -> Figure:
    """Build the figure: a curve for each group of runs, over the clients of all its seeds.

    Args:
        runs: The runs.
        metrics: What is drawn, a panel each: one metric, or those of one family.

    Raises:
        UserError: a run holds no scored round.
    """
    groups = group_runs(list(runs))
    found = [[Last.of(g, metric) for g in groups if g.has(metric)] for metric in metrics]
    rounds = {last.round for panel in found for last in panel}
    handles: dict[str, Artist] = {}
    with style.context():
        made, panels = style.new_panels(len(metrics))
        for axes, metric, lasts in zip(panels, metrics, found, strict=True):
            for last in lasts:
                label = last.label(with_round=len(rounds) > 1) if len(metrics) == 1 else last.group.label
                handles.setdefault(label, _curve(axes, last.values, label, last.group))
            axes.set_title(metric.partition("/")[2])
            axes.set_xlim(0, 100)
            style.fit_axis(axes, 101 if metric == "accuracy" else math.inf)
        after = f" after round {rounds.pop()}" if len(rounds) == 1 else ""
        style.legend(
            made, [*handles.values()], f"{'♦ and number' if len(metrics) == 1 else '♦'}: mean over clients{after}"
        )
        y = f"personal test {wording(metrics[0])}"
        style.label_axes(made, panels, "share of clients, from worst to best (%)", y)
    return made


def _curve(axes: Axes, values: Values, label: str, group: Group) -> Artist:
    """Draw one step a client, and the mean where the curve passes it."""
    edges = np.linspace(0, 100, len(values) + 1)
    steps = axes.stairs(
        values, edges, baseline=None, color=group.color, linestyle=group.line, linewidth=1.4, label=label
    )
    mean = values.mean()
    before = values < mean if values[0] < values[-1] else values > mean
    crossing = edges[np.count_nonzero(before)] if np.ptp(values) > 0 else 50.0
    axes.plot([crossing], [mean], marker="D", markersize=4.5, color=group.color, markeredgecolor="white", zorder=3)
    return steps


def draw(runs: list[Run], folder: Path) -> list[Path]:
    """Write client_accuracy.png and .pdf, and client_loss and so on for every other metric.

    Raises:
        UserError: a run holds no scored round, or the folder cannot be written.
    """
    return [
        path
        for family, metrics in families(runs).items()
        for path in style.save(figure(runs, metrics), folder, f"client_{file_name(family)}")
    ]
