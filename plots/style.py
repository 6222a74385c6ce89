"""What all figures have in common: sizes, fonts, colours, legends, and how a figure becomes files."""

import io
import math
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from fedpers.errors import writing

COLUMN, PAGE = 3.5, 7.16
"""Widths of one column and of two columns in a two-column paper, in inches."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow."""

LINES = ("-", "--", "-.", ":")
"""Line styles; together with seven colours they make 28 different curves, four of them different in grey."""

_RC = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.4,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "pdf.fonttype": 42,  # publishers refuse Type 3 fonts
}
_METADATA = {
    "png": {"Software": "fedpers"},
    "pdf": {"Creator": "fedpers", "Producer": "fedpers", "CreationDate": None},
}
_LEGEND_CHARACTERS = 64  # of the legend's font, in one column of the paper
_HANDLE_CHARACTERS = 7  # what a legend's line and the gap after an entry take, in characters
_LEGEND_LINE = 0.135  # height in inches


def context() -> AbstractContextManager[None]:
    """Return a context to make and save figures in: this style, whatever the user's matplotlibrc says."""
    return matplotlib.style.context(["default", _RC])


def new_figure(width: float = COLUMN, height: float = 2.3) -> Figure:
    """Return an empty figure that belongs to no pyplot window."""
    return Shown(figsize=(width, height), layout="constrained")


class Shown(Figure):
    """A figure that a notebook shows below its cell, without pyplot."""

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        with context():
            self.savefig(written, format="png", dpi=150, metadata=_METADATA["png"])
        return written.getvalue()


def new_panels(number: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of one panel, or of as many small ones as there are things to compare, on common axes."""
    if number == 1:
        made = new_figure()
        return made, [made.add_subplot()]
    columns = min(number, 4)
    rows = math.ceil(number / columns)
    made = new_figure(PAGE if columns > 2 else 2 * COLUMN, 0.5 + 1.4 * rows)
    panels = list(made.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[number - columns : number]:
        axes.xaxis.set_tick_params(labelbottom=True)
    for axes in panels[number:]:
        axes.remove()
    return made, panels[:number]


def label_axes(figure: Figure, panels: Sequence[Axes], x: str, y: str) -> None:
    """Name the axes once: at the panel, or beside all of them."""
    if len(panels) == 1:
        panels[0].set_xlabel(x)
        panels[0].set_ylabel(y)
    else:
        figure.supxlabel(x, fontsize=8)
        figure.supylabel(y, fontsize=8)


def fit_axis(axes: Axes, top: float) -> None:
    """Let the vertical axis end at zero, where nothing lies below it, and at the largest value there can be."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0) if axes.dataLim.y0 >= 0 else low, min(high, top))


def look(number: int) -> tuple[str, str]:
    """Return the colour and the line style of the curve with this number."""
    return COLORS[number % len(COLORS)], LINES[number % len(LINES)]


def legend(figure: Figure, handles: Sequence[Artist], title: str) -> Legend:
    """Put a legend above the axes, in as many columns as fit, and make the figure higher by its height."""
    labels = [textwrap.fill(str(handle.get_label()), _LEGEND_CHARACTERS - _HANDLE_CHARACTERS) for handle in handles]
    longest = max(len(line) for label in labels for line in label.splitlines())
    columns = min(len(labels), max(1, _LEGEND_CHARACTERS // (longest + _HANDLE_CHARACTERS)))
    height = math.ceil(len(labels) / columns)
    rows = [labels[start::height] for start in range(height)]
    lines = sum(max(label.count("\n") + 1 for label in row) for row in rows)
    title = textwrap.fill(title, _LEGEND_CHARACTERS)
    figure.set_figheight(figure.get_figheight() + _LEGEND_LINE * (lines + title.count("\n") + 1))
    made = figure.legend(handles, labels, title=title, ncols=columns, loc="outside upper center")
    for text in (*made.get_texts(), made.get_title()):
        text.set_parse_math(False)  # a run's folder may have a dollar in its name
    return made


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write NAME.png and NAME.pdf, each under another name first, the same bytes for the same figure.

    Returns:
        The files written.

    Raises:
        UserError: the folder cannot be written.
    """
    written = []
    with writing(f"figures in {folder}", "Name another folder, or make room"):
        folder.mkdir(parents=True, exist_ok=True)
        for kind, metadata in _METADATA.items():
            path, scratch = folder / f"{name}.{kind}", folder / f".{name}.{kind}"
            with context():
                figure.savefig(scratch, format=kind, dpi=200, metadata=metadata)
            scratch.replace(path)
            written.append(path)
    return written
