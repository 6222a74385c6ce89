"""All methods against each other, their hyper-parameters tuned alike: `python -m experiments.comparison`."""

import sys

from experiments import figures
from experiments.scales import (
    CIFAR,
    DIGITS,
    FASHION_MNIST,
    FIVE_SEEDS,
    TUNING_SEEDS,
    Weights,
    cifar,
    dirichlet,
    few_samples,
    methods,
    tuned,
)
from experiments.study import Scale, Study, main, merge

LRS = (0.02, 0.05, 0.1)
WEIGHTS: Weights = {
    "fedd2s": (0.1, 0.3, 1.0),
    "fedprox": (0.01, 0.1, 1.0),
    "fd": (0.1, 0.3, 1.0),
    "fedrep": (1, 5, 10),
    "fedbabu": (1, 5, 10),
    "ditto": (0.01, 0.1, 1.0),
    "apfl": (0.25, 0.5, 0.75),
    "pfedsd": (0.1, 0.5, 1.0),
    "fedproto": (0.1, 1.0, 10.0),
    "fedmd": (1, 2, 5),
    "fedgkt": (0.1, 0.3, 1.0),
    "moon": (0.1, 1.0, 5.0),
    "feddyn": (0.01, 0.1, 1.0),
    "per_fedavg": (0.01, 0.05, 0.1),
    "pfedme": (5.0, 15.0, 30.0),
}
FEW = {name: values[1:2] for name, values in WEIGHTS.items()}

SCALES = {
    "smoke": Scale(
        common=merge(DIGITS, ("rounds=3",)),
        arms=tuned(methods(), (0.02, 0.05), FEW),
        conditions=dirichlet(0.5, 0.1),
        seeds=(0, 1),
        tuning_seeds=TUNING_SEEDS[:1],
    ),
    "laptop": Scale(
        common=FASHION_MNIST,
        arms=tuned(methods(), LRS, WEIGHTS),
        conditions=few_samples(0.5, 0.1),
        seeds=FIVE_SEEDS,
        tuning_seeds=TUNING_SEEDS,
    ),
    "paper": Scale(
        common=CIFAR,
        arms=tuned(methods(), (0.01, *LRS), WEIGHTS),
        conditions=cifar(0.5, 0.1),
        seeds=FIVE_SEEDS,
        tuning_seeds=TUNING_SEEDS,
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
