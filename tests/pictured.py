"""Runs to draw, written without running them, and what their figures show."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from fedpers.config.keys import Config
from fedpers.results import Run
from fedpers.results.writer import RunWriter
from fedpers.rows import Row

# accuracies by round and client: means 30 % and 60 %, quartiles 17.5 and 37.5, 50 and 60
TWO_ROUNDS = [[0.1, 0.2, 0.3, 0.6], [0.9, 0.5, 0.5, 0.5]]
HISTOGRAM = [[3, 0], [0, 5], [10, 1], [2, 2]]


def write_run(
    folder: Path,
    rounds: list[list[float | None]] | Any = TWO_ROUNDS,
    strategy: str | None = "fedavg",
    histogram: list[list[int]] | Any = HISTOGRAM,
    others: dict[str, float] | None = None,
    also: Mapping[str, Callable[[float], float]] | None = None,
    sha: str = "a",
    **keys: Any,
) -> Run:
    """Write a run whose clients have these accuracies after rounds 1, 2, ...; None is a client that failed.

    `also` are other metrics, of the accuracy; NaN is none. What is not drawn, validation, has no accuracy at all.
    """
    metrics = {"accuracy": float, **(also or {})}
    choices = {"dataset": "digits", "partition": "dirichlet", "engine": "local"}
    config = Config(
        **{"partition": {"_target_": "x.Dirichlet", "num_clients": len(histogram), "alpha": 0.3}, **keys},
        choices=choices | ({"strategy": strategy} if strategy else {}),
    )
    writer = RunWriter(folder)
    writer.write_json("config.json", dataclasses.asdict(config))
    data = {"dataset": "digits", "dataset_sha256": "d", "assignment_sha256": sha, "num_classes": len(histogram[0])}
    writer.write_json("data.json", data)
    clients = {"client": range(len(histogram)), "label_histogram": histogram}
    pd.DataFrame(clients).to_parquet(folder / "clients.parquet")
    for number, accuracies in enumerate(rounds, start=1):
        rows = [
            Row(number, client, model, split, 10, name, of(value * factor if split == "test" else 0.0), True)
            for client, value in enumerate(accuracies)
            if value is not None
            for model, factor in {"personal": 1.0, **(others or {})}.items()
            for split in ("val", "test")
            for name, of in metrics.items()
            if not math.isnan(of(value * factor))
        ]
        writer.write_round(number, rows, [])
    return Run(folder)


def only_axes(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def legend_of(figure: Figure) -> tuple[str, list[str]]:
    (legend,) = figure.legends
    return legend.get_title().get_text(), [text.get_text() for text in legend.get_texts()]


def band_of(axes: Axes, number: int = 0) -> dict[float, tuple[float, float]]:
    """Return the lower and the upper edge of a band by round."""
    bands = [c for c in axes.collections if isinstance(c, PolyCollection)]
    points = bands[number].get_paths()[0].vertices
    return {
        float(x): (float(points[points[:, 0] == x, 1].min()), float(points[points[:, 0] == x, 1].max()))
        for x in np.unique(points[:, 0])
    }
