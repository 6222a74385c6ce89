"""Do the methods come out as in PFLlib's published table? `python -m experiments.pfllib scale=laptop jobs=2`.

Its setting on Fashion-MNIST: 20 clients, all of them in every round, Dirichlet 0.1, two unpadded 5x5 convolutions, SGD
with lr 0.005, batches of 10, one local epoch; 2000 rounds there. https://www.pfllib.com/benchmark.html, practical label
skew: FedAvg 85.85, Ditto 97.47, personalized methods from 97.06 (APPLE) to 97.66 (FedALA), Per-FedAvg 95.10.
"""

import statistics
from collections.abc import Sequence

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.outcome import Outcome
from experiments.machinery.pages import markdown_table
from experiments.machinery.scales import DIGITS
from experiments.machinery.study import Arm, Condition, Scale, Study

PUBLISHED = {"FedAvg": "85.85", "Ditto": "97.47"}
"""What PFLlib reports, in %: correct answers of all clients together."""

NAMES = {
    "fedavg": "FedAvg",
    "fedper": "FedPer",
    "fedrep": "FedRep",
    "ditto": "Ditto",
    "fedproto": "FedProto",
    "fd": "FD",
}
LAPTOP = {"fedavg": 45, "fedper": 45, "fedrep": 22, "ditto": 24, "fedproto": 36, "fd": 42}
"""Rounds that take 10 to 20 minutes on one core."""


def arms(rounds: dict[str, int]) -> tuple[Arm, ...]:
    """Return the six methods with their numbers of rounds."""
    return tuple(Arm(name, (f"strategy={strategy}", f"rounds={rounds[strategy]}")) for strategy, name in NAMES.items())


SETTING = ("experiment=pfllib_fashion_mnist", "finetune_epochs=0")
CONDITIONS = (Condition("Dirichlet 0.1"),)
SCALES = {
    "smoke": Scale(DIGITS, arms(dict.fromkeys(NAMES, 2)), CONDITIONS, (0, 1)),
    "laptop": Scale((*SETTING, "eval_every=2"), arms(LAPTOP), CONDITIONS, (0,)),
    "paper": Scale((*SETTING, "eval_every=20"), arms(dict.fromkeys(NAMES, 2000)), CONDITIONS, (0, 1, 2)),
}


def sections(found: Sequence[Outcome]) -> list[str]:
    """Return our accuracies beside the published ones."""
    cells = [
        [
            outcome.arm.name,
            str(next(iter(outcome.runs.values())).config.rounds),
            f"{_over_seeds(outcome, 'seconds') / 60:.1f}",
            f"{100 * _over_seeds(outcome, 'weighted'):.2f}",
            PUBLISHED.get(outcome.arm.name, "97 to 98"),
        ]
        for outcome in found
    ]
    headers = ["method", "rounds", "minutes", "accuracy, all test samples alike", "PFLlib, 2000 rounds"]
    text = "PFLlib counts the correct answers of all clients together, so that a client counts by its test samples."
    return ["## Beside PFLlib", text, markdown_table(["", *headers], [["", *row] for row in cells])]


def _over_seeds(outcome: Outcome, key: str) -> float:
    summaries = [run.summary for run in outcome.runs.values()]
    return statistics.fmean(s[key] if key in s else s["last"]["test"][outcome.arm.column][key] for s in summaries)


STUDY = Study(
    name="pfllib",
    question="Do methods come out in the order of PFLlib's published table on Fashion-MNIST?",
    scales=SCALES,
    draw=lambda found, folder: figures.curves(found, folder, "pfllib"),
    sections=sections,
    of_runs=True,
)

if __name__ == "__main__":
    as_command(STUDY)
