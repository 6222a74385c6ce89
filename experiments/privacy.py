"""What a budget of differential privacy costs in accuracy: `python -m experiments.privacy`.

FedAvg and FedPer with noise on the mean (central); FedD2S with class means, and noise on their mean (central) or each
client's own (local). All clients take part in every round, so that both pay the same: ε follows from noise and rounds.
"""

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.scales import CIFAR, DIGITS, FASHION_MNIST, FEDD2S, FEW_SAMPLES, laptop, paper, smoke
from experiments.machinery.study import Arm, Condition, Overrides, Study, merge
from fedpers.privacy import Central
from fedpers.privacy.accounting import Accountant

DELTA = 1e-5
CLASS_MEANS = merge(FEDD2S.overrides, ("strategy.knowledge=class_means", "strategy.vote=validation"))
ARMS = (
    Arm("FedAvg, central", ("strategy=fedavg", "privacy=central")),
    Arm("FedPer, central", ("strategy=fedper", "privacy=central")),
    Arm("FedD2S, class means, central", merge(CLASS_MEANS, ("privacy=central",))),
    Arm("FedD2S, class means, local", merge(CLASS_MEANS, ("privacy=local",))),
)


def epsilon(noise: float, scale: Overrides) -> float:
    """Return ε after all rounds of a scale."""
    rounds = next(int(text.removeprefix("rounds=")) for text in scale if text.startswith("rounds="))
    return Accountant(Central(clip=1.0, noise=noise, delta=DELTA), 1, 1, lambda _round: [0]).epsilon(rounds)


def budgets(scale: Overrides, *noises: float) -> tuple[Condition, ...]:
    """Return a condition for each strength of the noise."""
    return tuple(
        Condition(
            f"epsilon {(spent := epsilon(noise, scale)):.3g}", ("privacy.clip=0.3", f"privacy.noise={noise:g}"), spent
        )
        for noise in noises
    )


SCALES = {
    "smoke": smoke(ARMS, budgets(DIGITS, 0.1, 0.01)),
    "laptop": laptop(
        ARMS,
        budgets(FASHION_MNIST, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.01),
        merge(FEW_SAMPLES, ("partition.alpha=0.5", "eval_every=24")),
    ),
    "paper": paper(ARMS, budgets(CIFAR, 1.0, 0.3, 0.1, 0.03, 0.01)),
}

STUDY = Study(
    name="privacy",
    question=f"What does user-level differential privacy (δ = {DELTA:g}) cost in accuracy?",
    scales=SCALES,
    draw=lambda found, folder: figures.lines(found, folder, "privacy", "ε (left: much privacy)", log=True),
)

if __name__ == "__main__":
    as_command(STUDY)
