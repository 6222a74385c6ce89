"""All methods against each other, their hyper-parameters tuned alike: `python -m experiments.comparison`."""

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.scales import (
    CIFAR,
    CIFAR10_LAPTOP,
    DIGITS,
    FASHION_MNIST,
    FIVE_SEEDS,
    GLYPHS,
    THREE_SEEDS,
    TUNING_SEEDS,
    WRITERS,
    cifar,
    cifar10_laptop,
    dirichlet,
    few_samples,
    methods,
    newcomer,
)
from experiments.machinery.study import Condition, Overrides, Scale, Study, merge

LRS = (0.02, 0.05, 0.1)
CIFAR10_LRS = (0.01, 0.02, 0.04)
GLYPHS_LRS = (0.02, 0.05, 0.1)
"""Learning rates that every method tries: what a number of local steps and a momentum ask for."""


def laptop(common: Overrides, conditions: tuple[Condition, ...], lrs: tuple[float, ...], rounds: int) -> Scale:
    """Return the comparison on one dataset, in runs of a minute.

    Args:
        common: What all runs have.
        conditions: What clients hold.
        lrs: Learning rates that every method tries.
        rounds: The number of rounds: runs that tune are scored after the last.
    """
    return Scale(
        common=common,
        arms=methods(lrs),
        conditions=conditions,
        seeds=THREE_SEEDS,
        tuning_seeds=TUNING_SEEDS[:1],
        tuning=(f"eval_every={rounds}",),
        newcomer=newcomer(lrs),
        more_seeds=FIVE_SEEDS[3:],
    )


SCALES = {
    "smoke": Scale(
        common=merge(DIGITS, ("rounds=3",)),
        arms=methods((0.02, 0.05), middle=True),
        conditions=dirichlet(0.5, 0.1),
        seeds=(0, 1),
        tuning_seeds=TUNING_SEEDS[:1],
        newcomer=newcomer((0.02, 0.05), middle=True),
    ),
    "laptop": laptop(merge(FASHION_MNIST, ("eval_every=6",)), few_samples(0.5, 0.1), LRS, 24),
    "cifar10": laptop(CIFAR10_LAPTOP, cifar10_laptop(0.5, 0.1), CIFAR10_LRS, 24),
    "glyphs": laptop(GLYPHS, WRITERS, GLYPHS_LRS, 30),
    "paper": Scale(
        common=CIFAR,
        arms=methods((0.01, *LRS)),
        conditions=cifar(0.5, 0.1),
        seeds=FIVE_SEEDS,
        tuning_seeds=TUNING_SEEDS,
        tuning=("eval_every=100",),
        newcomer=newcomer((0.01, *LRS)),
    ),
}

STUDY = Study(
    name="comparison",
    question="Which method serves clients best, when every method's hyper-parameters are tuned alike?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "comparison"),
)

if __name__ == "__main__":
    as_command(STUDY)
