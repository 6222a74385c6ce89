"""Clients from worst to best, inspected as matplotlib objects, against numbers worked out by hand."""

from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from pictured import TWO_ROUNDS, legend_of, only_axes, write_run

from plots import client_accuracy


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
