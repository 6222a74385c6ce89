"""What clients hold, before anything is trained: labels, sizes, and some images of each."""

from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from plots import label_distribution, style

ROWS, COLUMNS = 10, 12
"""Clients and images of each that are shown."""


class Holdings(Protocol):
    """Prepared data, as far as they are drawn."""

    @property
    def label_histogram(self) -> NDArray[np.int64]:
        """Samples of each class that each client holds: (clients, classes)."""

    @property
    def split_sizes(self) -> NDArray[np.int64]:
        """Training, validation and test samples of each client: (clients, 3)."""

    def samples(self, number: int, count: int) -> NDArray[np.uint8]:
        """Return a client's first training images: (at most count, H, W, C)."""


def sizes(held: NDArray[np.int64], title: str) -> Figure:
    """Build a histogram of the clients' training, validation and test samples, (clients, 3)."""
    with style.context():
        made = style.new_figure()
        axes = made.subplots()
        edges = np.histogram_bin_edges(held[held > 0], bins=min(30, max(5, int(held.max() - held.min()) or 5)))
        for number, name in enumerate(("training", "validation", "test")):
            if held[:, number].any():
                color, line = style.look(number)
                axes.hist(
                    held[:, number], edges.tolist(), histtype="step", color=color, linestyle=line, lw=1.4, label=name
                )
        axes.set(xlabel="samples of a client", ylabel="clients", title=title)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    return made


def sheet(data: Holdings, title: str) -> Figure:
    """Build a sheet of images: a row for each client, of clients spread over all."""
    count = len(data.split_sizes)
    clients = np.unique(np.linspace(0, count - 1, min(ROWS, count)).astype(int))
    with style.context():
        made = style.new_figure(style.PAGE, 0.25 + style.PAGE / (COLUMNS + 1) * len(clients))
        grid = made.subplots(len(clients), COLUMNS, squeeze=False)
        for row, client in zip(grid, clients, strict=True):
            images = data.samples(int(client), COLUMNS)
            for axes, image in zip(row, images, strict=False):
                axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            for axes in row:
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            row[0].set_ylabel(f"client {client}", rotation=0, ha="right", va="center")
        made.suptitle(title, fontsize=8)
    return made


def draw(data: Holdings, title: str, folder: Path) -> list[Path]:
    """Write labels, sizes and images as .png and .pdf.

    Raises:
        UserError: the folder cannot be written.
    """
    written = style.save(label_distribution.figure(data.label_histogram, title), folder, "label_distribution")
    written += style.save(sizes(data.split_sizes, title), folder, "sizes")
    return written + style.save(sheet(data, title), folder, "images")
