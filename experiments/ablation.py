"""FedD2S with one of its parts taken away or exchanged: `python -m experiments.ablation`.

`feedback=head` withholds the soft labels that `lambda_kl=0` ignores, and `feedback=soft_labels` the heads that
`lambda_ce=0` ignores: their accuracies agree, by construction.
"""

import sys

from experiments import figures
from experiments.scales import (
    CIFAR,
    CIFAR10,
    DIGITS,
    FASHION_MNIST,
    FEDD2S,
    FIVE_SEEDS,
    LOCAL,
    THREE_SEEDS,
    dirichlet,
    few_samples,
)
from experiments.study import Arm, Scale, Study, main, merge

CHANGES = (
    "lambda_ce=0",
    "lambda_kl=0",
    "mu=0",
    "kl_on=head",
    "knowledge=class_means",
    "feedback=head",
    "feedback=soft_labels",
    "head_norm=false",
    "heads=own",
)
ARMS = (FEDD2S, *(Arm(change, ("strategy=fedd2s", f"strategy.{change}")) for change in CHANGES), LOCAL)

SCALES = {
    "smoke": Scale(DIGITS, ARMS, dirichlet(0.5), (0, 1)),
    "laptop": Scale(FASHION_MNIST, ARMS, few_samples(0.5, 0.1), THREE_SEEDS),
    "paper": Scale(merge(CIFAR, CIFAR10), ARMS, dirichlet(0.5, 0.1), FIVE_SEEDS),
}

STUDY = Study(
    name="ablation",
    question="Which parts of FedD2S contribute to its accuracy?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "ablation"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
