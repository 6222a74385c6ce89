"""Shared models, fine-tuned by every client before they are scored: `python -m experiments.fine_tuning`.

FedAvg, FedProx, MOON, SCAFFOLD, FedDyn and FedNTD end with one model for all clients, which the comparison scores as it
is. Here each is scored after ten epochs at home. Learning rates are those that the comparison chose; SCAFFOLD diverges
with larger ones.
"""

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

OWN = {
    "FedAvg": ("strategy=fedavg",),
    "FedProx": ("strategy=fedprox", "strategy.mu=0.01"),
    "MOON": ("strategy=moon", "strategy.mu=0.1"),
    "SCAFFOLD": ("strategy=scaffold", "lr=0.02", "momentum=0"),
    "FedDyn": ("strategy=feddyn",),
    "FedNTD": ("strategy=fedntd", "strategy.beta=0.3"),
}
ARMS = (
    LOCAL,
    *(Arm(name, (*own, "finetune_epochs=10")) for name, own in OWN.items()),
    *(Arm(f"{name} + FT", (*own, "finetune_epochs=10"), "finetuned") for name, own in OWN.items()),
)

SCALES = {
    "smoke": Scale(DIGITS, ARMS, dirichlet(0.5), (0, 1)),
    "laptop": Scale(merge(FASHION_MNIST, ("eval_every=12",)), ARMS, few_samples(0.5, 0.1), THREE_SEEDS),
    "paper": Scale(merge(CIFAR, CIFAR10), ARMS, dirichlet(0.5, 0.1), FIVE_SEEDS),
}

STUDY = Study(
    name="fine_tuning",
    question="Does one shared model lack anything but fine-tuning at home, whoever trained it?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "fine_tuning"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
