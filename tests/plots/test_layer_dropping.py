"""The timeline of layer dropping, inspected as matplotlib objects against numbers worked out by hand; then as files."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedpers.config.keys import Config
from plots import layer_dropping

CUTS = [3, 3, 2, 1]  # by round
STAGES = ("conv1", "head")
TRAFFIC = [
    # round, phase, client, direction, kind, bytes
    (1, "train", 0, "up", "representations", 3_000_000),
    (1, "train", 1, "up", "representations", 1_000_000),
    (1, "train", 0, "up", "soft_labels", 500_000),
    (1, "train", 0, "up", "metrics", 1_000),
    (1, "train", 0, "down", "control", 2_000),
    (1, "evaluate", 0, "down", "weights", 900_000_000),
    (2, "train", 1, "up", "error", 0),
    (3, "train", 0, "down", "weights", 2_000_000),
    (3, "train", 0, "up", "representations", 5_000_000),
]


@dataclasses.dataclass
class Fake:
    """What the figure reads of a run."""

    diagnostics: pd.DataFrame
    traffic: pd.DataFrame
    accuracies: pd.DataFrame
    config: Config
    label: str = "fedd2s"

    def curve(self, model: str, split: str) -> pd.DataFrame:
        assert (model, split) == ("personal", "test")
        return self.accuracies


def diagnostics(cuts: list[int]) -> pd.DataFrame:
    rows: list[tuple[int, int, str, float]] = []
    for number, cut in enumerate(cuts, start=1):
        rows += [(number, -1, "active_cut", cut), (number, -1, "head_loss", 2 / number)]
        rows += [(number, -1, "head_accuracy", 0.1 * number)]
        rows += [(number, client, f"drift/{stage}", number + client) for stage in STAGES for client in (0, 1)]
        if number > 1:  # nobody has soft labels in the first round
            rows += [(number, 0, "agreement", 0.5), (number, 1, "agreement", 0.7), (number, -1, "soft_label_age", 1.5)]
    return pd.DataFrame(rows, columns=["round", "client", "name", "value"])


def make(cuts: list[int] | None = None, **changes: Any) -> Any:
    """Return a fake run; None for the cuts of four rounds."""
    cuts = CUTS if cuts is None else cuts
    columns = ["round", "phase", "client", "direction", "kind", "bytes"]
    accuracies = pd.DataFrame([[0.1, 0.2, 0.3, 0.6], [0.9, 0.5, 0.5, 0.5]], index=[2, 4])
    config = Config(choices={"strategy": "fedd2s", "dataset": "digits", "partition": "iid", "model": "cnn"}, seed=7)
    fake = Fake(diagnostics(cuts), pd.DataFrame(TRAFFIC, columns=columns), accuracies, config)
    return dataclasses.replace(fake, **changes)


def panels(figure: Figure) -> dict[str, Axes]:
    """Return the panels by letter, and the loss's axis as "loss"."""
    found = {}
    for axes in figure.axes:
        legend = axes.get_legend()
        title = axes.get_title(loc="left") or (legend.get_title().get_text() if legend else "")
        found[title[1:2] or "loss"] = axes
    return found


def curve(axes: Axes, label: str) -> dict[int, float]:
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return dict(zip(line.get_xdata().tolist(), line.get_ydata().tolist(), strict=True))


def test_there_are_six_panels_over_the_same_rounds() -> None:
    found = panels(layer_dropping.figure(make()))
    assert set(found) == {*"abcdef", "loss"}
    assert {axes.get_xlim() for axes in found.values()} == {(0.5, 4.5)}
    assert [found[letter].get_xlabel() for letter in "abcdef"] == ["", "", "round", "", "", "round"]


def test_drops_are_marked_in_every_panel() -> None:
    assert layer_dropping.drops(make()) == [3, 4]
    assert layer_dropping.drops(make([2, 2, 2])) == []
    found = panels(layer_dropping.figure(make()))
    for letter in "abcdef":
        dotted = [line for line in found[letter].lines if line.get_linestyle() == ":" and line.get_color() == "black"]
        assert [line.get_xdata()[0] for line in dotted] == [2.5, 3.5]
    steps, marks = found["a"].lines[:2]
    assert (steps.get_xdata().tolist(), steps.get_ydata().tolist()) == ([1, 2, 3, 4], CUTS)
    assert steps.get_drawstyle() == "steps-mid"
    assert (marks.get_xdata().tolist(), marks.get_ydata().tolist()) == ([3, 4], [2, 1])


def test_accuracy_is_that_of_the_convergence_figure() -> None:
    axes = panels(layer_dropping.figure(make()))["b"]
    assert curve(axes, "mean, band: central 50 % of clients") == pytest.approx({2: 30, 4: 60})
    points = axes.collections[0].get_paths()[0].vertices
    assert points[points[:, 0] == 2, 1].min() == pytest.approx(17.5)


def test_heads_figures_and_the_agreement_of_clients() -> None:
    found = panels(layer_dropping.figure(make()))
    assert curve(found["c"], "accuracy") == pytest.approx({1: 10, 2: 20, 3: 30, 4: 40})
    assert curve(found["c"], "agreement") == pytest.approx({2: 60, 3: 60, 4: 60})
    assert curve(found["loss"], "loss (right)") == pytest.approx({1: 2, 2: 1, 3: 2 / 3, 4: 0.5})
    labels = [text.get_text() for text in found["c"].get_legend().get_texts()]
    assert labels == ["accuracy", "agreement", "loss (right)"]


def test_megabytes_of_training_by_hand() -> None:
    up, down = (layer_dropping.megabytes(make(), direction) for direction in ("up", "down"))
    assert up.to_dict() == {"representations": {1: 4, 3: 5}, "soft_labels": {1: 0.5, 3: 0}, "rest": {1: 0.001, 3: 0}}
    assert down.to_dict() == {"weights": {1: 0, 3: 2}, "rest": {1: 0.002, 3: 0}}


def test_bytes_are_stacked_upwards_and_downwards() -> None:
    axes = panels(layer_dropping.figure(make()))["d"]
    bars = [(bar.get_x() + 0.5, bar.get_y(), bar.get_height()) for bar in axes.patches]
    expected = [
        *[(1, 0, 4), (3, 0, 5)],  # representations
        *[(1, 4, 0.5), (3, 5, 0)],  # soft labels upon them
        *[(1, 4.5, 0.001), (3, 5, 0)],
        *[(1, 0, 0), (3, 0, -2)],  # weights, downwards
        *[(1, 0, -0.002), (3, -2, 0)],
    ]
    assert np.array(bars) == pytest.approx(np.array(expected))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["representations", "soft labels", "rest", "weights"]


def test_drift_is_a_mean_over_clients_for_each_stage() -> None:
    axes = panels(layer_dropping.figure(make()))["e"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(STAGES)
    for stage in STAGES:
        assert curve(axes, stage) == pytest.approx({1: 1.5, 2: 2.5, 3: 3.5, 4: 4.5})


def test_age_starts_where_there_are_soft_labels() -> None:
    axes = panels(layer_dropping.figure(make()))["f"]
    assert axes.lines[0].get_xdata().tolist() == [2, 3, 4]
    assert axes.lines[0].get_ydata().tolist() == [1.5] * 3
    assert axes.get_legend() is None


def test_what_was_never_sent_is_not_in_the_legends() -> None:
    frame = diagnostics(CUTS).query("name not in ('agreement', 'soft_label_age')")
    found = panels(layer_dropping.figure(make(diagnostics=frame)))
    assert [text.get_text() for text in found["c"].get_legend().get_texts()] == ["accuracy", "loss (right)"]
    assert [text.get_text() for text in found["f"].texts] == ["none were sent"]


def test_title_names_the_run() -> None:
    title = layer_dropping.figure(make())._suptitle.get_text()  # type: ignore[attr-defined]
    assert title.startswith("fedd2s, digits, iid, cnn, seed 7;")
    assert "dotted" in title
    assert "dotted" not in layer_dropping.figure(make([2, 2]))._suptitle.get_text()  # type: ignore[attr-defined]


@pytest.mark.parametrize("cuts", [[1], [2, 2]])
def test_short_runs_and_runs_without_evaluation_are_drawn(cuts: list[int], tmp_path: Path) -> None:
    empty = make(cuts).traffic.iloc[:0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(layer_dropping.draw([make(cuts, accuracies=pd.DataFrame(), traffic=empty)], tmp_path)) == 2


def test_many_stages_and_a_strange_name_leave_room_for_the_panels() -> None:
    frame = diagnostics(CUTS)
    more = [(1, 0, f"drift/block{number}.$conv{number}", 0.1) for number in range(18)]
    frame = pd.concat([frame, pd.DataFrame(more, columns=frame.columns)])
    figure = layer_dropping.figure(make(diagnostics=frame, label="a_$run"))
    figure.draw_without_rendering()
    sizes = [axes.get_position() for axes in figure.axes]
    assert min(size.width for size in sizes) > 0.3
    assert min(size.height for size in sizes) > 0.1


def test_a_figure_for_each_run_that_drops_and_none_for_others(tmp_path: Path) -> None:
    other = make(diagnostics=diagnostics(CUTS).query("name != 'active_cut'"))
    assert layer_dropping.draw([], tmp_path) == []
    assert layer_dropping.draw([other], tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    written = layer_dropping.draw([make(), other, make()], tmp_path)
    names = ["layer_dropping.png", "layer_dropping.pdf", "layer_dropping_2.png", "layer_dropping_2.pdf"]
    assert [path.name for path in written] == names
    assert all(path.stat().st_size > 10_000 for path in written)
    assert written[0].read_bytes() == written[2].read_bytes()


def test_a_real_run_is_drawn(federate, tmp_path: Path) -> None:
    run = federate(
        "strategy=fedd2s", "strategy.dropping_set=[2,1]", "strategy.dropping_interval=1", "participation=0.5"
    )
    assert layer_dropping.drops(run) == [2]
    assert len(layer_dropping.draw([run, federate("strategy=local")], tmp_path / "figures")) == 2
