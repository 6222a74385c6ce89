"""Which cuts FedD2S passes through, and in which order: `python -m experiments.dropping_set`."""

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


def through(*cuts: int) -> Arm:
    """Return FedD2S that passes through these cuts; a single one stays."""
    way = " → ".join(map(str, cuts)) if len(cuts) > 1 else f"{cuts[0]} only"
    staying = ("strategy.dropping=none",) if len(cuts) == 1 else ()
    chosen = f"strategy.dropping_set=[{','.join(map(str, cuts))}]"
    return Arm(f"cut {way}" if len(cuts) == 1 else f"cuts {way}", ("strategy=fedd2s", chosen, *staying))


ARMS = (
    through(4, 3, 2, 1),
    through(3, 2, 1),
    through(1, 2, 3, 4),
    through(1, 2, 3),
    *(through(cut) for cut in (4, 3, 2, 1)),  # the first of these is FedD2S without dropping
    LOCAL,
)

SCALES = {
    "smoke": Scale(DIGITS, ARMS, dirichlet(0.5), (0, 1)),
    "laptop": Scale(FASHION_MNIST, ARMS, few_samples(0.5, 0.1), THREE_SEEDS),
    "paper": Scale(merge(CIFAR, CIFAR10), ARMS, dirichlet(0.5, 0.1), FIVE_SEEDS),
}

STUDY = Study(
    name="dropping_set",
    question="Does it matter that layers are dropped from deep to shallow, or that they are dropped at all?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "dropping_set"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
