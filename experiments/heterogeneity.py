"""From nearly one class a client to nearly IID: `python -m experiments.heterogeneity`."""

import sys

from experiments import figures
from experiments.scales import (
    CIFAR,
    CIFAR10,
    DIGITS,
    FASHION_MNIST,
    FEDAVG_FT,
    FEDD2S,
    FIVE_SEEDS,
    LOCAL,
    THREE_SEEDS,
    dirichlet,
    few_samples,
)
from experiments.study import Scale, Study, main, merge

ARMS = (FEDD2S, LOCAL, FEDAVG_FT)
ALPHAS = (0.05, 0.1, 0.3, 0.5, 1.0, 5.0)

SCALES = {
    "smoke": Scale(DIGITS, ARMS, dirichlet(0.1, 1.0, 5.0), (0, 1)),
    "laptop": Scale(FASHION_MNIST, ARMS, few_samples(*ALPHAS), THREE_SEEDS),
    "paper": Scale(merge(CIFAR, CIFAR10), ARMS, dirichlet(*ALPHAS), FIVE_SEEDS),
}

STUDY = Study(
    name="heterogeneity",
    question="How does the gain over training alone depend on how differently the clients' data are distributed?",
    scales=SCALES,
    draw=lambda found, folder: figures.lines(
        found, folder, "heterogeneity", "Dirichlet α (left: few classes a client)", log=True
    ),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
