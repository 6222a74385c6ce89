"""Fewer clients a round, equally many rounds: `python -m experiments.participation_ratio`."""

import sys

from experiments import figures
from experiments.scales import (
    CIFAR,
    CIFAR10,
    DIGITS,
    FASHION_MNIST,
    FEDAVG,
    FEDAVG_FT,
    FEDD2S,
    FEW_SAMPLES,
    FIVE_SEEDS,
    LOCAL,
    THREE_SEEDS,
)
from experiments.study import Condition, Scale, Study, main, merge

ARMS = (FEDD2S, LOCAL, FEDAVG, FEDAVG_FT)


def ratios(*values: float) -> tuple[Condition, ...]:
    """Return a condition for each share of the clients that is sampled in a round."""
    return tuple(Condition(f"{100 * v:g} % of clients", (f"participation={v:g}",), 100 * v) for v in values)


SCALES = {
    "smoke": Scale(DIGITS, ARMS, ratios(0.5, 1.0), (0, 1)),
    "laptop": Scale(
        merge(FASHION_MNIST, FEW_SAMPLES, ("partition.alpha=0.5",)), ARMS, ratios(0.2, 0.5, 1.0), THREE_SEEDS
    ),
    "paper": Scale(merge(CIFAR, CIFAR10), ARMS, ratios(0.2, 0.5, 1.0), FIVE_SEEDS),
}

STUDY = Study(
    name="participation_ratio",
    question="What remains of each method after equally many rounds when only some clients take part in a round?",
    scales=SCALES,
    draw=lambda found, folder: figures.lines(
        found, folder, "participation_ratio", "clients that train in a round (%)", log=False
    ),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
