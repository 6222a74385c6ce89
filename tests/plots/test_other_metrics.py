"""Figures of metrics other than the accuracy, inspected as matplotlib objects, against numbers worked out by hand."""

import math
from pathlib import Path

import pytest
from pictured import legend_of, only_axes, write_run

from plots import client_accuracy, convergence
from plots.groups import families


def test_a_metric_has_its_own_figure_in_its_own_unit(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", also={"loss": lambda accuracy: 4 * accuracy})
    figure = convergence.figure([run], ["loss"])
    (line,) = only_axes(figure).lines
    assert line.get_ydata() == pytest.approx([1.2, 2.4])
    assert only_axes(figure).get_ylabel() == "personal test loss"
    assert only_axes(figure).get_ylim()[1] > 2.4
    names = {path.name for module in (convergence, client_accuracy) for path in module.draw([run], tmp_path)}
    stems = ("convergence", "convergence_loss", "client_accuracy", "client_loss")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")}


def test_clients_with_the_largest_loss_are_the_worst(tmp_path: Path) -> None:
    also = {"loss": lambda accuracy: 10 * accuracy, "auc": lambda accuracy: accuracy}
    run = write_run(tmp_path / "run", [[0.1, 0.5, 0.2, 0.3]], also=also)
    for metric, sorted_values in (("loss", [5, 3, 2, 1]), ("auc", [0.1, 0.2, 0.3, 0.5])):
        figure = client_accuracy.figure([run], [metric])
        assert only_axes(figure).patches[0].get_data().values == pytest.approx(sorted_values)
        assert only_axes(figure).lines[0].get_xdata()[0] == 50
    assert legend_of(figure) == ("♦ and number: mean over clients after round 1", ["fedavg: 0.275"])


def test_figures_of_one_metric_are_panels_on_common_axes(tmp_path: Path) -> None:
    also = {f"class_accuracy/{c}": lambda accuracy, c=c: accuracy / (c + 1) for c in (0, 1, 10, 2)}
    run = write_run(tmp_path / "run", also=also)
    names = [f"class_accuracy/{c}" for c in (0, 1, 2, 10)]
    assert families([run]) == {"accuracy": ["accuracy"], "class_accuracy": names}
    for module in (convergence, client_accuracy):
        figure = module.figure([run], names)
        assert [axes.get_title() for axes in figure.axes] == ["0", "1", "2", "10"]
        assert len({axes.get_ylim() for axes in figure.axes}) == 1
        means = [axes.lines[0].get_ydata()[-1] for axes in figure.axes]
        assert means == pytest.approx([0.6 / (c + 1) for c in (0, 1, 2, 10)])
        assert len(legend_of(figure)[1]) == 1


def test_what_some_runs_or_clients_lack_is_left_out_and_said(tmp_path: Path) -> None:
    also = {"auc": lambda accuracy: math.nan if accuracy == 0.9 else accuracy, "void": lambda _: math.nan}
    runs = [write_run(tmp_path / "a", also=also), write_run(tmp_path / "b", strategy="local")]
    assert families(runs) == {"accuracy": ["accuracy"], "auc": ["auc"]}
    (line,) = only_axes(convergence.figure(runs, ["auc"])).lines
    assert line.get_ydata() == pytest.approx([0.3, 0.5])
    labels = legend_of(client_accuracy.figure(runs, ["auc"]))[1]
    assert labels == ["fedavg: 0.5, 1 of 4 clients have none"]


def test_a_diverged_loss_has_no_place_on_an_axis(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", also={"loss": lambda accuracy: math.inf if accuracy == 0.9 else accuracy})
    (line,) = only_axes(convergence.figure([run], ["loss"])).lines
    assert line.get_ydata() == pytest.approx([0.3, 0.5])


def test_a_name_from_a_table_cannot_name_another_folder(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", also={"..": lambda accuracy: accuracy})
    assert all(path.parent == tmp_path / "figures" for path in convergence.draw([run], tmp_path / "figures"))
