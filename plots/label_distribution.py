"""Who holds which class: samples by client and class, and the size of each client."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from fedpers.results import Run
from plots import style

MANY = 60
"""Above so many clients, the figure is as wide as the page and has no tick for each client."""

_MANY_CLASSES = 20
_BLUES = ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.2, 1, 256)))  # 1 sample is no white
_COMMON = ("_target_", "num_clients", "min_samples", "max_samples")  # what every partition has


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Build one figure for each distinct assignment of samples to clients, in the order of the runs.

    Raises:
        UserError: a run does not say who holds what.
    """
    distinct: dict[tuple[str, str], Run] = {}
    for run in runs:
        data = run.data
        distinct.setdefault((data.get("dataset_sha256", ""), data["assignment_sha256"]), run)
    return [figure(run.label_histogram, _title(run)) for run in distinct.values()]


def figure(histogram: NDArray[np.int64], title: str) -> Figure:
    """Build the figure of one assignment from the samples of each class that each client holds: (clients, classes)."""
    many = len(histogram) > MANY
    with style.context():
        made = style.new_figure(style.PAGE if many else style.COLUMN, 3.4 if many else 2.9)
        sizes, classes = made.subplots(2, 1, sharex=True, height_ratios=[1, 3.5])
        sizes.bar(
            np.arange(len(histogram)),
            histogram.sum(axis=1),
            width=1.0 if many else 0.8,
            color=style.COLORS[0],
        )
        sizes.set_ylabel("samples")
        sizes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        sizes.grid(visible=False, axis="x")
        sizes.set_title(textwrap.fill(title, 50), parse_math=False)
        _heatmap(made, classes, histogram)
        sizes.tick_params(axis="x", which="both", length=0)
    return made


def _heatmap(made: Figure, axes: Axes, histogram: NDArray[np.int64]) -> None:
    """Draw classes by clients; who has no sample of a class stays white, so that a single one can be seen."""
    num_clients, num_classes = histogram.shape
    shown = np.ma.masked_equal(histogram.T, 0)
    norm = LogNorm(vmin=1, vmax=max(2, int(histogram.max())))
    image = axes.imshow(shown, cmap=_BLUES, norm=norm, aspect="auto", origin="lower", interpolation="nearest")
    bar = made.colorbar(image, ax=axes, pad=0.02, aspect=15)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    bar.ax.minorticks_off()
    bar.set_label("samples of a class (log)")
    _axes(axes, num_clients, num_classes)


def _axes(axes: Axes, num_clients: int, num_classes: int) -> None:
    """Name the axes; only where there are few clients and classes can each one be told from its neighbours."""
    axes.set_xlabel("client")
    axes.set_ylabel("class")
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    for axis, number, most in ((axes.xaxis, num_clients, MANY), (axes.yaxis, num_classes, _MANY_CLASSES)):
        if number > most:
            axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        else:
            step = next(step for step in (1, 2, 5, 10) if number <= 12 * step)
            axis.set_ticks(range(0, number, step))
            axis.set_ticks([edge - 0.5 for edge in range(1, number)], minor=True)
            axis.grid(visible=True, which="minor")
    axes.tick_params(which="minor", length=0)


def _title(run: Run) -> str:
    """Return the dataset, the partition with its own keys, and the seed."""
    keys = {key: value for key, value in run.config.partition.items() if key not in _COMMON}
    own = ", ".join(f"{key}={value}" for key, value in keys.items())
    partition = run.config.choices.get("partition", "")
    texts = [run.data.get("dataset", ""), f"{partition} {own}".strip(), f"seed {run.config.seed}"]
    return ", ".join(text for text in texts if text)


def draw(runs: list[Run], folder: Path) -> list[Path]:
    """Write label_distribution.png and .pdf, and label_distribution_2 and so on if runs differ in their data.

    Raises:
        UserError: a run does not say who holds what, or the folder cannot be written.
    """
    written = []
    for number, made in enumerate(figures(runs), start=1):
        written += style.save(made, folder, "label_distribution" + (f"_{number}" if number > 1 else ""))
    return written
