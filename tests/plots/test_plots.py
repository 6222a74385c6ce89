"""Figures are inspected as matplotlib objects, against numbers worked out by hand."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fedpers.config import Config
from fedpers.results import Run
from fedpers.tables import Row
from fedpers.writer import RunWriter
from plots import client_accuracy, convergence, label_distribution, style
from plots.groups import group_runs

# accuracies by round and client: means 30 % and 60 %, quartiles 17.5 and 37.5, 50 and 60
TWO_ROUNDS = [[0.1, 0.2, 0.3, 0.6], [0.9, 0.5, 0.5, 0.5]]
HISTOGRAM = [[3, 0], [0, 5], [10, 1], [2, 2]]


def write_run(
    folder: Path,
    rounds: list[list[float | None]] | Any = TWO_ROUNDS,
    strategy: str | None = "fedavg",
    histogram: list[list[int]] | Any = HISTOGRAM,
    others: dict[str, float] | None = None,
    sha: str = "a",
    **keys: Any,
) -> Run:
    """Write a run whose clients have these accuracies after rounds 1, 2, ...; None is a client that failed."""
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
            Row(number, client, model, split, 10, "accuracy", value * factor if split == "test" else 0.0, True)
            for client, value in enumerate(accuracies)
            if value is not None
            for model, factor in {"personal": 1.0, **(others or {})}.items()
            for split in ("val", "test")
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


# convergence


def test_convergence_shows_mean_and_quartiles_of_the_test_split(tmp_path: Path) -> None:
    figure = convergence.figure([write_run(tmp_path / "run")])
    axes = only_axes(figure)
    (line,) = axes.lines
    assert line.get_xdata().tolist() == [1, 2]
    assert line.get_ydata() == pytest.approx([30, 60])
    band = band_of(axes)
    assert band[1] == pytest.approx((17.5, 37.5))
    assert band[2] == pytest.approx((50, 60))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("round", "personal test accuracy (%)")
    assert legend_of(figure) == ("fedavg: mean over clients, band: central 50 % of clients", ["personal"])


def test_a_single_run_also_shows_its_other_models_thinner(tmp_path: Path) -> None:
    figure = convergence.figure([write_run(tmp_path / "run", others={"global": 0.5, "finetuned": 1.1})])
    personal, shared, tuned = only_axes(figure).lines
    assert shared.get_ydata() == pytest.approx([15, 30])
    assert tuned.get_ydata() == pytest.approx([33, 66])
    assert max(shared.get_linewidth(), tuned.get_linewidth()) < personal.get_linewidth()
    assert legend_of(figure)[1] == ["personal", "global", "fine-tuned"]
    assert only_axes(figure).get_ylabel() == "test accuracy (%)"


def test_seeds_make_one_curve_over_all_their_clients(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", [[0.1, 0.3]], seed=0),
        write_run(tmp_path / "b", [[0.5, 0.7]], seed=1),
        write_run(tmp_path / "c", [[0.2, 0.6]], seed=0, strategy="local", others={"global": 1.0}),
    ]
    figure = convergence.figure(runs)
    first, second = only_axes(figure).lines
    assert first.get_ydata() == pytest.approx([40])
    assert second.get_ydata() == pytest.approx([40])
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    assert legend_of(figure) == ("Mean over clients, band: central 50 % of clients", ["fedavg (2 seeds)", "local"])


def test_seeds_are_averaged_only_over_rounds_that_all_have(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", [[0.2], [0.4], [0.9]], seed=0, histogram=[[1]]),
        write_run(tmp_path / "b", [[0.4], [0.8]], seed=1, histogram=[[1]]),
    ]
    (line,) = only_axes(convergence.figure(runs)).lines
    assert line.get_xdata().tolist() == [1, 2]
    assert line.get_ydata() == pytest.approx([30, 60])
    title, labels = legend_of(client_accuracy.figure(runs))
    assert "after round 2" in title
    assert labels == ["fedavg (2 seeds): 60.0 %"]


def test_a_failed_client_is_left_out_of_its_round_only(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[0.1, 0.2, 0.3, 0.6], [0.9, None, 0.5, 0.5]])
    (line,) = only_axes(convergence.figure([run])).lines
    assert line.get_ydata() == pytest.approx([30, 100 * 1.9 / 3])
    figure = client_accuracy.figure([run])
    assert legend_of(figure)[1] == ["fedavg: 63.3 %, 1 of 4 clients failed"]
    assert only_axes(figure).patches[0].get_data().values == pytest.approx([50, 50, 90])


def test_a_single_round_shows_a_point_its_range_and_whole_rounds(tmp_path: Path) -> None:
    axes = only_axes(convergence.figure([write_run(tmp_path / "run", TWO_ROUNDS[:1])]))
    assert axes.lines[0].get_marker() == "o"
    (segment,) = axes.collections[0].get_segments()
    assert segment[:, 1] == pytest.approx([17.5, 37.5])
    assert axes.get_xlim() == pytest.approx((0, 2))


# accuracy by client


def test_clients_are_sorted_over_their_share_with_the_mean_where_the_curve_passes_it(tmp_path: Path) -> None:
    axes = only_axes(client_accuracy.figure([write_run(tmp_path / "run", TWO_ROUNDS[::-1])]))
    (steps,) = axes.patches
    assert steps.get_data().values == pytest.approx([10, 20, 30, 60])
    assert steps.get_data().edges.tolist() == [0, 25, 50, 75, 100]
    (mean,) = axes.lines
    assert (mean.get_xdata()[0], mean.get_ydata()[0]) == (50, pytest.approx(30))
    assert to_hex(mean.get_color()) == to_hex(steps.get_edgecolor())
    assert axes.get_xlabel() == "share of clients, from worst to best (%)"
    assert axes.get_ylabel() == "personal test accuracy (%)"
    assert axes.get_xlim() == (0, 100)


def test_equal_clients_have_their_mean_in_the_middle(tmp_path: Path) -> None:
    axes = only_axes(client_accuracy.figure([write_run(tmp_path / "run", [[0.1, 0.1, 0.1]])]))
    assert axes.lines[0].get_xdata()[0] == 50
    assert axes.lines[0].get_ydata()[0] == pytest.approx(10)


def test_each_group_is_a_curve_and_says_its_round_if_rounds_differ(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", strategy="fedavg"),
        write_run(tmp_path / "b", TWO_ROUNDS[:1], strategy="local", seed=0),
        write_run(tmp_path / "c", TWO_ROUNDS[:1], strategy="local", seed=1),
    ]
    figure = client_accuracy.figure(runs)
    assert [len(patch.get_data().values) for patch in only_axes(figure).patches] == [4, 8]
    title, labels = legend_of(figure)
    assert title == "♦ and number: mean over clients"
    assert labels == ["fedavg: 60.0 % after round 2", "local (2 seeds): 30.0 % after round 1"]


# who holds which class


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


# groups and their names


def names_of(*runs: Run) -> list[str]:
    return [group.label for group in group_runs(list(runs))]


def test_runs_that_differ_in_more_than_their_seed_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    folders = {
        f"partition.alpha={alpha},strategy=fedavg,seed={seed}": (alpha, seed) for alpha in (0.1, 1.0) for seed in (0, 1)
    }
    runs = [write_run(tmp_path / f, seed=s, partition={"alpha": a}) for f, (a, s) in folders.items()]
    runs.append(write_run(tmp_path / "strategy=local", strategy="local"))
    assert names_of(*runs) == [
        "fedavg, partition.alpha=0.1 (2 seeds)",
        "fedavg, partition.alpha=1.0 (2 seeds)",
        "local",
    ]


def test_folders_of_one_name_are_told_apart_by_those_above(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / parent / "strategy=fedavg", lr=lr) for parent, lr in (("a", 0.1), ("b", 0.2))]
    assert names_of(*runs) == ["fedavg, a", "fedavg, b"]


def test_a_seed_in_the_folder_is_named_where_nothing_else_differs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"seed={seed}", seed=seed, lr=0.1 + seed) for seed in (0, 1)]
    assert names_of(*runs) == ["fedavg, seed=0", "fedavg, seed=1"]


def test_what_changes_no_result_does_not_part_seeds(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", seed=0, out="a", quiet=True, engine={"num_threads": 1})
    b = write_run(tmp_path / "b", seed=1, out="b", quiet=False, engine={"num_threads": 8})
    assert names_of(a, b) == ["fedavg (2 seeds)"]


def test_a_repeated_run_is_a_curve_of_its_own_but_a_run_given_twice_is_not(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    assert names_of(a, b) == ["fedavg, a", "fedavg, b"]
    assert names_of(a, Run(tmp_path / "b" / ".." / "a")) == ["fedavg"]


def test_a_run_without_a_strategy_is_called_by_its_folder(tmp_path: Path) -> None:
    assert names_of(write_run(tmp_path / "mine", strategy=None)) == ["mine"]


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
