"""All methods against each other, their hyper-parameters tuned alike: `python -m experiments.comparison`."""

import sys

from experiments.machinery import figures
from experiments.machinery.command import main
from experiments.machinery.scales import (
    CIFAR,
    DIGITS,
    FASHION_MNIST,
    FIVE_SEEDS,
    THREE_SEEDS,
    TUNING_SEEDS,
    cifar,
    dirichlet,
    few_samples,
    methods,
    newcomer,
)
from experiments.machinery.study import Scale, Study, merge

LRS = (0.02, 0.05, 0.1)

SCALES = {
    "smoke": Scale(
        common=merge(DIGITS, ("rounds=3",)),
        arms=methods((0.02, 0.05), middle=True),
        conditions=dirichlet(0.5, 0.1),
        seeds=(0, 1),
        tuning_seeds=TUNING_SEEDS[:1],
        newcomer=newcomer((0.02, 0.05), middle=True),
    ),
    "laptop": Scale(
        common=merge(FASHION_MNIST, ("eval_every=6",)),
        arms=methods(LRS),
        conditions=few_samples(0.5, 0.1),
        seeds=THREE_SEEDS,
        tuning_seeds=TUNING_SEEDS[:1],
        tuning=("eval_every=24",),
        newcomer=newcomer(LRS),
    ),
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
    sys.exit(main(STUDY))
