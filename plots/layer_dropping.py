"""A run of layer dropping as a timeline: what was active, what it cost, and what became of clients and heads.

Six panels share the axis of rounds; a dotted line through all of them marks where the next cut became active. There is
one figure a run, and none for a run that reported no active cut: this figure may stand among those of every run.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fedpers.results import Run
from plots import convergence, style

CUT = "active_cut"
MB = 1e6
"""Bytes in a megabyte."""

_KINDS = {
    "representations": 0,
    "soft_labels": 4,
    "heads": 2,
    "weights": 6,
    "labels": 3,
    "prototypes": 5,
}  # number of the colour
_REST = "rest"
_SMALL = 0.01  # kinds with a smaller share of the bytes are drawn as one
_GREY = "#999999"
_CHARACTERS = 46  # of the legend's font, in the width of a panel


def has_cuts(run: Run) -> bool:
    """Tell whether the algorithm of a run had an active cut."""
    return bool((run.diagnostics["name"] == CUT).any())


def means(run: Run, name: str) -> pd.Series:
    """Return a figure's mean over whoever reported it, by round."""
    rows = run.diagnostics[run.diagnostics["name"] == name]
    return rows.groupby("round")["value"].mean()


def drops(run: Run) -> list[int]:
    """Return the rounds in which another cut was active than in the round before."""
    cuts = means(run, CUT)
    return [int(number) for number in cuts.index[1:][np.diff(cuts.to_numpy()) != 0]]


def megabytes(run: Run, direction: str) -> pd.DataFrame:
    """Return what all clients together were sent ("down") or sent ("up"), as a table of rounds by payload kinds.

    The kinds are sorted by size; small ones are summed up under "rest".
    """
    traffic = run.traffic[(run.traffic["phase"] == "train") & (run.traffic["kind"] != "error")]
    totals = traffic.groupby("kind")["bytes"].sum()
    large = totals[totals >= _SMALL * totals.sum()].sort_values(ascending=False).index
    kinds = traffic["kind"].where(traffic["kind"].isin(large), _REST)
    rows = traffic.assign(kind=kinds)[traffic["direction"] == direction]
    table = rows.pivot_table(index="round", columns="kind", values="bytes", aggfunc="sum", fill_value=0)
    order = [kind for kind in (*large, _REST) if kind in table]
    return table[order] / MB


def figure(run: Run) -> Figure:
    """Build the figure of a run that has an active cut."""
    with style.context():
        made = style.new_figure(style.PAGE, 6.0)
        grid = made.subplots(3, 2, sharex=True)
        panels: tuple[Callable[[Axes, Run], None], ...] = (_active_cut, _accuracy, _head, _bytes, _drift, _age)
        for axes, panel in zip(grid.T.flat, panels, strict=True):  # down the left column, then the right one
            panel(axes, run)
            for number in drops(run):
                axes.axvline(number - 0.5, color="black", linestyle=":", linewidth=0.8, zorder=1.5)
        rounds = means(run, CUT).index
        grid[0, 0].set_xlim(rounds.min() - 0.5, rounds.max() + 0.5)
        grid[0, 0].xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        for axes in grid[-1]:
            axes.set_xlabel("round")
        made.suptitle(_title(run), fontsize=8, parse_math=False)
    return made


def _title(run: Run) -> str:
    """Say which run this is and what the dotted lines mean."""
    choices = run.config.choices
    data = [choices[group] for group in ("dataset", "partition", "model") if group in choices]
    names = ", ".join([run.label, *data, f"seed {run.config.seed}"])
    return f"{names}; means over clients" + ("; dotted: the next cut becomes active" if drops(run) else "")


def _line(axes: Axes, values: pd.Series, label: str, number: int, color: str | None = None) -> None:
    """Draw a curve if there is any, with a marker at each round where there are few."""
    if values.empty:
        return
    look, line = style.look(number)
    marker = "o" if len(values) <= convergence.FEW_ROUNDS else ""
    axes.plot(values.index, values, color=color or look, linestyle=line, label=label, marker=marker, markersize=2.5)


def _heading(axes: Axes, title: str, *others: Axes) -> None:
    """Put a panel's title above it and, where there is something to tell apart, the legend under the title."""
    found = [pair for each in (axes, *others) for pair in zip(*each.get_legend_handles_labels(), strict=True)]
    if not found:
        axes.set_title(title, loc="left")
        return
    handles, labels = zip(*found, strict=True)
    made = axes.legend(
        handles,
        labels,
        ncols=_columns(labels),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.3,
        borderpad=0,
        handlelength=1.8,
        columnspacing=1.0,
        labelspacing=0.3,
        title=title,
        title_fontsize=8,
        alignment="left",
    )
    for text in made.get_texts():
        text.set_parse_math(False)  # a stage may have a dollar in its name


def _columns(labels: Sequence[str]) -> int:
    """Return the largest number of columns in which a legend is no wider than a panel."""
    widths = [len(label) + 5 for label in labels]  # 5 for the line before a label
    for columns in range(len(labels), 1, -1):
        parts = np.array_split(widths, columns)
        if sum(part.max() for part in parts) <= _CHARACTERS:
            return columns
    return 1


def _active_cut(axes: Axes, run: Run) -> None:
    cuts = means(run, CUT)
    axes.step(cuts.index, cuts, where="mid", color=style.COLORS[0])
    dropped = cuts[cuts.index.isin(drops(run))]
    axes.plot(dropped.index, dropped, linestyle="", marker="v", markersize=5, color=style.COLORS[1])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0.5, float(cuts.max()) + 0.5)
    axes.set_ylabel("cut (stages before it)")
    _heading(axes, "(a) active cut" + (", ▼ where a cut was dropped" if len(dropped) else ""))


def _accuracy(axes: Axes, run: Run) -> None:
    table = 100 * run.curve("personal", "test")
    axes.set_ylabel("test accuracy (%)")
    if not table.empty:
        share = 100 * (convergence.BAND[1] - convergence.BAND[0])
        convergence.curve(axes, table, f"mean, band: central {share:.0f} % of clients", *style.look(0))
    _heading(axes, "(b) personal models")


def _head(axes: Axes, run: Run) -> None:
    axes.set_ylabel("accuracy, agreement (%)")
    _line(axes, 100 * means(run, "head_accuracy"), "accuracy", 0)
    _line(axes, 100 * means(run, "agreement"), "agreement", 2)
    right = axes.twinx()
    _line(right, means(run, "head_loss"), "loss (right)", 1)
    right.set_ylabel("loss (nats)")
    right.set_ylim(bottom=0)
    right.grid(visible=False)
    right.spines["right"].set_visible(True)
    _heading(axes, "(c) server's head, clients' agreement with it", right)


def _bytes(axes: Axes, run: Run) -> None:
    """Draw what goes up above zero and what comes down below it."""
    drawn: set[str] = set()
    for direction, sign in (("up", 1), ("down", -1)):
        table = megabytes(run, direction)
        base = np.zeros(len(table))
        for kind in table:
            values = sign * table[kind].to_numpy()
            color = style.COLORS[_KINDS[str(kind)]] if kind in _KINDS else _GREY
            label = "" if kind in drawn else str(kind).replace("_", " ")
            axes.bar(table.index, values, bottom=base, width=1.0, color=color, label=label, linewidth=0)
            base += values
            drawn.add(str(kind))
    axes.axhline(0, color="black", linewidth=0.6)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
    axes.margins(y=0.12)
    axes.set_ylabel("MB a round: down | up")
    _heading(axes, "(d) bytes of all clients by kind")


def _drift(axes: Axes, run: Run) -> None:
    names = [name for name in run.diagnostics["name"].drop_duplicates() if name.startswith("drift/")]
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, max(1, len(names))))
    for number, name in enumerate(names):  # from shallow to deep
        _line(axes, means(run, name), name.removeprefix("drift/"), number, matplotlib.colors.to_hex(shades[number]))
    axes.set_ylabel("‖w − w₀‖ / ‖w₀‖")
    axes.set_ylim(bottom=0)
    _heading(axes, "(e) drift from the initial weights")


def _age(axes: Axes, run: Run) -> None:
    ages = means(run, "soft_label_age")
    _line(axes, ages, "", 0)
    axes.set_ylim(0, max(2.0, 1.1 * float(ages.max())) if len(ages) else 2.0)
    if ages.empty:
        axes.text(0.5, 0.5, "none were sent", transform=axes.transAxes, ha="center")
    axes.set_ylabel("age (rounds)")
    _heading(axes, "(f) soft labels that were sent")


def draw(runs: list[Run], folder: Path) -> list[Path]:
    """Write layer_dropping.png and layer_dropping.pdf, and layer_dropping_2, ... for further runs with active cuts.

    Returns:
        The files written; none for runs without layer dropping.

    Raises:
        UserError: the folder cannot be written.
    """
    written: list[Path] = []
    for number, run in enumerate((run for run in runs if has_cuts(run)), start=1):
        written += style.save(figure(run), folder, "layer_dropping" + (f"_{number}" if number > 1 else ""))
    return written
