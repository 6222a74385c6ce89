"""The curve of a run and its band, inspected as matplotlib objects, against numbers worked out by hand."""

from pathlib import Path

import pytest
from pictured import TWO_ROUNDS, band_of, legend_of, only_axes, write_run

from plots import client_accuracy, convergence


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
    two = [[1, 2], [3, 4]]
    runs = [
        write_run(tmp_path / "a", [[0.1, 0.3]], seed=0, histogram=two),
        write_run(tmp_path / "b", [[0.5, 0.7]], seed=1, histogram=two),
        write_run(tmp_path / "c", [[0.2, 0.6]], seed=0, histogram=two, strategy="local", others={"global": 1.0}),
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
    curve = convergence.figure([run, run])
    (line,) = only_axes(curve).lines
    assert line.get_ydata() == pytest.approx([30, 100 * 1.9 / 3])
    assert legend_of(curve)[1] == ["personal, up to 1 of 4 clients failed"]
    figure = client_accuracy.figure([run])
    assert legend_of(figure)[1] == ["fedavg: 63.3 %, 1 of 4 clients failed"]
    assert only_axes(figure).patches[0].get_data().values == pytest.approx([50, 50, 90])


def test_a_single_round_shows_a_point_its_range_and_whole_rounds(tmp_path: Path) -> None:
    axes = only_axes(convergence.figure([write_run(tmp_path / "run", TWO_ROUNDS[:1])]))
    assert axes.lines[0].get_marker() == "o"
    (segment,) = axes.collections[0].get_segments()
    assert segment[:, 1] == pytest.approx([17.5, 37.5])
    assert axes.get_xlim() == pytest.approx((0, 2))
