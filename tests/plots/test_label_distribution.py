"""Who holds which class, inspected as matplotlib objects."""

from pathlib import Path

import numpy as np
from pictured import write_run

from plots import label_distribution, style


def test_heatmap_holds_the_samples_and_bars_the_sizes(tmp_path: Path) -> None:
    (figure,) = label_distribution.figures([write_run(tmp_path / "run", seed=7)])
    sizes, classes, scale = figure.axes
    shown = classes.images[0].get_array()
    assert shown.filled(0).tolist() == [[3, 0, 10, 2], [0, 5, 1, 2]]
    assert shown.mask.tolist() == [[False, True, False, False], [True, False, False, False]]
    assert classes.images[0].norm.vmax == 10
    assert [bar.get_height() for bar in sizes.patches] == [3, 5, 11, 4]
    assert sizes.get_title() == "digits, dirichlet alpha=0.3, seed 7"
    assert (classes.get_xlabel(), classes.get_ylabel()) == ("client", "class")
    assert (sizes.get_ylabel(), scale.get_ylabel()) == ("samples", "samples of a class (log)")
    assert classes.get_xticks().tolist() == [0, 1, 2, 3]
    assert classes.get_yticks().tolist() == [0, 1]


def test_many_clients_have_no_tick_each_on_a_wide_figure(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    histogram = generator.integers(0, 9, size=(1000, 100))
    run = write_run(tmp_path / "run", [[0.5]], histogram=histogram.tolist())
    (figure,) = label_distribution.figures([run])
    sizes, classes, _ = figure.axes
    assert np.array_equal(classes.images[0].get_array().filled(0), histogram.T)
    assert [bar.get_height() for bar in sizes.patches] == histogram.sum(axis=1).tolist()
    assert figure.get_figwidth() == style.PAGE
    assert len(classes.get_xticks()) < 15
    assert len(classes.get_yticks()) < 15


def test_every_distinct_assignment_has_a_figure(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, sha=sha) for name, sha in (("1", "a"), ("2", "b"), ("3", "a"))]
    names = [path.name for path in label_distribution.draw(runs, tmp_path / "out")]
    assert names == [f"label_distribution{suffix}.{kind}" for suffix in ("", "_2") for kind in ("png", "pdf")]
