"""Figures of attacks: how much is given away, as dots, and a few of the images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from torch import Tensor

from experiments.inversion.attack import Attacked
from experiments.machinery.outcome import estimate
from plots import style

TITLES = {"error": "error (% of a guess's)", "matched": "images matched (%)", "accuracy": "accuracy (%)"}
_ROW = 0.17  # height of a row of dots in inches


@dataclass(frozen=True)
class Finding:
    """What one row of a study gives away.

    Args:
        method: What is sent.
        condition: At which cut.
        attacks: What came of the attacks, by seed.
        accuracy: Test accuracy in %, by seed; empty where there is none.
    """

    method: str
    condition: str
    attacks: Mapping[int, Attacked]
    accuracy: Mapping[int, float]

    def by_seed(self, measure: str) -> dict[int, float]:
        """Return a field of `Leak`, or the accuracy, by seed."""
        if measure == "accuracy":
            return dict(self.accuracy)
        return {seed: float(getattr(attack.leak, measure)) for seed, attack in self.attacks.items()}


def dots(found: Sequence[Finding], beside: Sequence[Finding], folder: Path, name: str) -> list[Path]:
    """Write a figure with a row for each thing that is sent, a column for each cut, and a line for each gradient."""
    methods = list(dict.fromkeys(each.method for each in found))
    conditions = list(dict.fromkeys(each.condition for each in found))
    with style.context():
        made = style.new_figure(style.PAGE, 0.6 + (0.5 + _ROW * len(methods)) * len(TITLES))
        panels = made.subplots(len(TITLES), len(conditions), sharex="row", sharey=True, squeeze=False)
        for measure, row in zip(TITLES, panels, strict=True):
            for condition, axes in zip(conditions, row, strict=True):
                _panel(axes, [each for each in found if each.condition == condition], methods, measure)
                axes.set_xlabel(TITLES[measure])
                for number, each in enumerate(beside if measure != "accuracy" else ()):
                    value = estimate(each.by_seed(measure))
                    assert value is not None
                    color, line = style.look(number + 1)
                    axes.axvline(value.mean, color=color, linestyle=line, linewidth=1, label=each.method)
        for axes, condition in zip(panels[0], conditions, strict=True):
            axes.set_title(condition)
        handles = panels[0][0].get_legend_handles_labels()[0]
        style.legend(
            made, handles, "dots: seeds; diamonds: their mean; lines: an update of FedAvg, its gradient inverted"
        )
        return style.save(made, folder, name)


def _panel(axes: Axes, found: Sequence[Finding], methods: Sequence[str], measure: str) -> None:
    color = style.look(0)[0]
    for each in found:
        row, values = methods.index(each.method), list(each.by_seed(measure).values())
        axes.plot(values, [row] * len(values), ".", color=color, alpha=0.4, markersize=4, markeredgewidth=0)
        axes.plot(sum(values) / len(values), row, "D", color=color, markersize=3)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -0.5)


def images(found: Sequence[Finding], beside: Sequence[Finding], folder: Path) -> list[Path]:
    """Write a figure of a few attacked images of the first seed, and what was made of them from each thing sent."""
    conditions = list(dict.fromkeys(each.condition for each in found))
    methods = list(dict.fromkeys(each.method for each in found))
    rows = {"the images": _first(found[0]).images, "a guess": _first(found[0]).guess}
    above = len(rows) + len(methods)
    height, columns = above + 2 * len(beside), len(conditions)
    with style.context():
        made = style.new_figure(style.PAGE, 0.3 + 0.42 * height)
        panels = made.subplots(height, columns, squeeze=False)
        for axes in panels.flat:
            axes.axis("off")
        for column, condition in enumerate(conditions):
            at = {each.method: _first(each) for each in found if each.condition == condition}
            cells = [*rows.values(), *(at[method].made if method in at else None for method in methods)]
            for axes, cell in zip(panels[: len(cells), column], cells, strict=True):
                _strip(axes, cell)
            panels[0][column].set_title(condition)
        labels = [*rows, *methods]
        for number, each in enumerate(beside):
            attack = _first(each)
            labels += ["the images", each.method.replace("FedAvg, one step on", "gradient of")]
            for place, cell in enumerate((attack.images, attack.made)):
                _strip(panels[above + 2 * number + place][0], cell)
        for axes, label in zip(panels[:, 0], labels, strict=True):
            axes.text(-0.03, 0.5, label, transform=axes.transAxes, ha="right", va="center", fontsize=7)
        return style.save(made, folder, "leakage_images")


def _first(finding: Finding) -> Attacked:
    return next(iter(finding.attacks.values()))


def _strip(axes: Axes, images: Tensor | None) -> None:
    """Show images side by side, all on one scale of grey or colour."""
    if images is None:
        return
    pixels = torch.cat(list(images.clamp(-2.5, 2.5)), dim=2).permute(1, 2, 0)
    low, high = float(pixels.min()), float(pixels.max())
    shown = ((pixels - low) / max(high - low, 1e-6)).numpy()
    axes.imshow(shown[:, :, 0] if shown.shape[2] == 1 else shown, cmap="gray", interpolation="nearest")
