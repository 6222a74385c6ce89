"""Figures of studies, in the style of `plots`: arms as dots, as lines over conditions, and over rounds and bytes."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from experiments.machinery.outcome import Outcome, Row, cumulative_megabytes
from experiments.machinery.plan import REFERENCE
from experiments.machinery.study import Arm, Condition
from plots import style

INTERVAL = "mean over seeds, 95 % confidence interval"
_ROW = 0.18  # height of a row of dots in inches
_TITLES = {
    "accuracy": "personal test accuracy (%)",
    "gain": "gain over Local, paired (points)",
}
_SHORT_TITLES = {"accuracy": "accuracy (%)", "gain": "gain over Local"}
"""Where many panels stand side by side."""


def dots(found: Sequence[Row], folder: Path, name: str) -> list[Path]:
    """Write a figure with a row for each arm and a column for each condition: seeds, mean and interval."""
    return style.save(dots_figure(found), folder, name)


def lines(found: Sequence[Outcome], folder: Path, name: str, label: str, *, log: bool) -> list[Path]:
    """Write a figure with a curve for each arm over the conditions: accuracy and paired gain over Local.

    Args:
        found: What the runs say.
        folder: Where the figure goes.
        name: What its files are called.
        label: What the conditions' axis is called.
        log: Whether that axis is logarithmic.
    """
    return style.save(lines_figure(found, label, log=log), folder, name)


def curves(found: Sequence[Outcome], folder: Path, name: str) -> list[Path]:
    """Write a figure of accuracy over rounds and over bytes, a row for each condition."""
    return style.save(curves_figure(found), folder, name)


def dots_figure(found: Sequence[Row]) -> Figure:
    """Build the figure of `dots`: accuracies above, paired gains over Local below where Local is an arm."""
    arms, conditions = _arms(found), _conditions(found)
    measures = _measures(found)
    titles = _TITLES if len(conditions) <= 3 else _SHORT_TITLES
    with style.context():
        made = style.new_figure(
            style.PAGE if len(conditions) > 1 else style.COLUMN, 0.4 + (0.5 + _ROW * len(arms)) * len(measures)
        )
        panels = made.subplots(len(measures), len(conditions), sharey=True, squeeze=False)
        for measure, row in zip(measures, panels, strict=True):
            for axes, condition in zip(row, conditions, strict=True):
                _dots(axes, [o for o in found if o.condition == condition], arms, measure)
                axes.set_xlabel(titles[measure])
        for axes, condition in zip(panels[0], conditions, strict=True):
            axes.set_title(condition.name)
        text = f"dots: seeds; diamond and line: {INTERVAL}, which may leave the axes"
        made.supxlabel(textwrap.fill(text, 60 * len(conditions)), fontsize=7)
    return made


def _dots(axes: Axes, found: Sequence[Row], arms: Sequence[Arm], measure: str) -> None:
    """Draw one panel; its axis follows the seeds, so that a wide interval may leave it."""
    color = style.look(0)[0]
    points: list[float] = []
    for outcome in found:
        row, value, seeds = arms.index(outcome.arm), outcome.estimate(measure), outcome.by_seed(measure).values()
        points += seeds
        if measure == "gain" or outcome.arm.name == REFERENCE:
            reference = value.mean if measure == "accuracy" and value else 0.0
            axes.axvline(reference, color="#555555", linestyle="--", linewidth=0.8, zorder=1)
        if value is None:
            continue
        if value.half is not None:
            axes.plot([value.low, value.high], [row, row], color=color, linewidth=1.2, zorder=2)
        axes.plot(list(seeds), [row] * len(seeds), "o", color="#555555", markersize=2.5, alpha=0.7, zorder=4)
        axes.plot([value.mean], [row], "D", color=color, markersize=4.5, markeredgecolor="white", zorder=3)
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlim(*_limits([*points, 0.0] if measure == "gain" else points, measure))
    axes.xaxis.set_major_locator(MaxNLocator(5))


def lines_figure(found: Sequence[Outcome], label: str, *, log: bool) -> Figure:
    """Build the figure of `lines`: accuracies on the left, on the right paired gains over Local, where it is an arm."""
    arms, ticks = _arms(found), [condition.x for condition in _conditions(found)]
    measures = _measures(found)
    with style.context():
        made = style.new_figure(style.PAGE)
        panels = made.subplots(1, len(measures), squeeze=False)[0]
        handles: dict[Arm, Artist] = {}
        for axes, measure in zip(panels, measures, strict=True):
            points: list[float] = [0.0] if measure == "gain" else []
            for number, arm in enumerate(arms):
                of_arm = [o for o in found if o.arm == arm and o.estimate(measure)]
                if of_arm:
                    apart = (number - (len(arms) - 1) / 2) * 0.03
                    handles.setdefault(arm, _line(axes, of_arm, measure, number, apart, log=log))
                    points += [value for o in of_arm for value in o.by_seed(measure).values()]
            if measure == "gain":
                axes.axhline(0, color="#555555", linestyle="--", linewidth=0.8, zorder=1)
            axes.set_xlabel(label)
            axes.set_ylabel(_TITLES[measure])
            if log:
                axes.set_xscale("log")
                axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
            axes.set_ylim(*_limits(points, measure))
        style.legend(made, list(handles.values()), "Mean over seeds, 95 % confidence interval (may leave the axes)")
    return made


def _line(axes: Axes, outcomes: Sequence[Outcome], measure: str, number: int, apart: float, *, log: bool) -> Artist:
    """Draw an arm's means and intervals, a little aside so that those of other arms can be seen."""
    color, line = style.look(number)
    values = {o.condition.x: value for o in outcomes if (value := o.estimate(measure))}
    width = max(values) - min(values) or max(values)
    places = [x * math.exp(3 * apart) if log else x + apart * width / 2 for x in values]
    means = [value.mean for value in values.values()]
    (drawn,) = axes.plot(
        places, means, color=color, linestyle=line, marker="o", markersize=3.5, label=outcomes[0].arm.name
    )
    for x, value in zip(places, values.values(), strict=True):
        if value.half is not None:
            axes.plot([x, x], [value.low, value.high], color=color, linewidth=0.9)
    return drawn


def _limits(points: Sequence[float], measure: str) -> tuple[float, float]:
    """Return an axis' limits around every seed's value; accuracies stay within 0 and 100 %."""
    if not points:
        return -1, 1
    margin = max(0.35 * (max(points) - min(points)), 0.5)
    low, high = min(points) - margin, max(points) + margin
    return (low, high) if measure == "gain" else (max(low, 0), min(high, 101))


def curves_figure(found: Sequence[Outcome]) -> Figure:
    """Build the figure of `curves`."""
    arms, conditions = _arms(found), _conditions(found)
    with style.context():
        made = style.new_figure(style.PAGE, 2.1 * len(conditions))
        panels = made.subplots(len(conditions), 2, sharey="row", squeeze=False)
        handles: dict[Arm, Artist] = {}
        for (left, right), condition in zip(panels, conditions, strict=True):
            for outcome in found:
                if outcome.condition == condition:
                    number = arms.index(outcome.arm)
                    handles.setdefault(outcome.arm, _course(left, outcome, number, in_bytes=False))
                    _course(right, outcome, number, in_bytes=True)
            left.set_ylabel(f"{condition.name}\ntest accuracy (%)")
            right.set_xscale("log")
            left.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        panels[-1][0].set_xlabel("round")
        panels[-1][1].set_xlabel("MB sent in both directions (log scale)")
        style.legend(made, list(handles.values()), "Mean over clients and seeds")
    return made


def _course(axes: Axes, outcome: Outcome, number: int, *, in_bytes: bool) -> Artist:
    """Draw an arm's mean accuracy over rounds, or over the MB that were sent, a mean over seeds too."""
    color, line = style.look(number)
    accuracy = pd.concat(outcome.curves.values(), axis=1, join="inner").mean(axis=1)
    x = pd.Series(accuracy.index, accuracy.index)
    if in_bytes:
        sizes = [cumulative_megabytes(run) for run in outcome.runs.values()]
        x = pd.concat(sizes, axis=1).ffill().mean(axis=1).reindex(accuracy.index, method="ffill")
    marker = "o" if len(accuracy) <= 12 else ""
    (drawn,) = axes.plot(x, accuracy, color=color, linestyle=line, marker=marker, markersize=3, label=outcome.arm.name)
    return drawn


def _measures(found: Sequence[Row]) -> list[str]:
    """Return what is drawn: gains only where Local is an arm."""
    return ["accuracy", "gain"] if any(o.estimate("gain") for o in found) else ["accuracy"]


def _arms(found: Sequence[Row]) -> list[Arm]:
    return list(dict.fromkeys(outcome.arm for outcome in found))


def _conditions(found: Sequence[Row]) -> list[Condition]:
    return list(dict.fromkeys(outcome.condition for outcome in found))
