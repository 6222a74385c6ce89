"""How fast FedD2S drops layers from the federation: `python -m experiments.dropping_rate`."""

import sys

from experiments import figures
from experiments.scales import (
    CIFAR,
    CIFAR10,
    DIGITS,
    FASHION_MNIST,
    FIVE_SEEDS,
    LOCAL,
    THREE_SEEDS,
    dirichlet,
    few_samples,
)
from experiments.study import Arm, Scale, Study, main, merge


def arms(*intervals: int) -> tuple[Arm, ...]:
    """Return FedD2S with each interval, adaptive, without dropping, and Local."""
    return (
        *(
            Arm(f"every {n} round{'s' * (n > 1)}", ("strategy=fedd2s", f"strategy.dropping_interval={n}"))
            for n in intervals
        ),
        Arm("adaptive", ("strategy=fedd2s", "strategy.dropping=adaptive")),
        Arm("no dropping", ("strategy=fedd2s", "strategy.dropping=none")),
        LOCAL,
    )


SCALES = {
    "smoke": Scale(DIGITS, arms(1, 2), dirichlet(0.5), (0, 1)),
    "laptop": Scale(FASHION_MNIST, arms(1, 2, 4, 6, 12), few_samples(0.5, 0.1), THREE_SEEDS),
    "paper": Scale(merge(CIFAR, CIFAR10), arms(5, 10, 25, 50), dirichlet(0.5, 0.1), FIVE_SEEDS),
}

STUDY = Study(
    name="dropping_rate",
    question="How fast should layers leave the federation?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "dropping_rate"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
