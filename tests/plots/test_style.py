"""What all figures share: curves that differ, legends inside the figure."""

from pathlib import Path
from typing import Any

import pytest
from pictured import legend_of, only_axes, write_run

from plots import client_accuracy, convergence, style


def test_28_curves_look_different() -> None:
    assert len({style.look(number) for number in range(28)}) == 28


@pytest.mark.parametrize("module", [convergence, client_accuracy])
@pytest.mark.parametrize("count", [1, 4, 12])
def test_the_legend_lies_inside_the_figure_and_outside_the_axes(tmp_path: Path, module: Any, count: int) -> None:
    long = "a folder's name that is $very_$ long and cannot be put on one line in a column of a paper"
    runs = [write_run(tmp_path / f"{long} {n}", lr=0.1 + n) for n in range(count)]
    with style.context():
        figure = module.figure(runs)
        figure.draw_without_rendering()
    (legend,) = figure.legends
    box, axes = legend.get_window_extent(), only_axes(figure).get_window_extent()
    assert box.y0 >= axes.y1
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 <= figure.bbox.height
    assert axes.height > 1.3 * figure.dpi
    title, labels = legend_of(figure)
    assert sum(text.count("$very_$") for text in (title, *labels)) == (count if count > 1 else 0)
