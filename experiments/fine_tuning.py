"""Shared models, fine-tuned by every client before they are scored: `python -m experiments.fine_tuning`.

FedAvg, FedProx, SCAFFOLD, MOON, FedDyn, FedNTD and FedGen end with one model for all clients, which the comparison
scores as it is. Here each is scored after ten epochs at home, its hyper-parameters tuned for that as the comparison
tunes them.
"""

import dataclasses

from experiments import comparison
from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.scales import KNOWN, LOCAL
from experiments.machinery.study import Arm, Scale, Study

SHARED = ("fedavg", "fedprox", "scaffold", "moon", "feddyn", "fedntd", "fedgen")


def _scale(of: Scale) -> Scale:
    names = [arm.name for key in SHARED for arm in KNOWN[key].arms]
    arms = {arm.name: arm for arm in of.arms}
    chosen = (arms[LOCAL.name], *(_fine_tuned(arms[name]) for name in names))
    return dataclasses.replace(of, arms=chosen, newcomer=None)


def _fine_tuned(arm: Arm) -> Arm:
    overrides = (*arm.overrides, "finetune_epochs=10")
    return dataclasses.replace(arm, name=f"{arm.name} + FT", overrides=overrides, column="finetuned")


STUDY = Study(
    name="fine_tuning",
    question="Does one shared model lack anything but fine-tuning at home, whoever trained it?",
    scales={name: _scale(scale) for name, scale in comparison.SCALES.items()},
    draw=lambda found, folder: figures.dots(found, folder, "fine_tuning"),
)

if __name__ == "__main__":
    as_command(STUDY)
