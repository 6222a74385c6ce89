"""FedD2S with one of its parts taken away or exchanged: `python -m experiments.ablation`.

At scales `laptop` and `paper` that is knowledge alone. There `feedback=head` withholds the soft labels that
`lambda_kl=0` ignores, and `feedback=soft_labels` the heads that `lambda_ce=0` ignores: their accuracies agree, by
construction. At `cifar10` and `glyphs` it is FedD2S+, our additions among the parts.
"""

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.scales import FEDD2S, FEDD2S_PLUS, LOCAL, cifar10, glyphs, laptop, paper, smoke
from experiments.machinery.study import Arm, Study, merge

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
PLUS_CHANGES = (
    "vote=0",
    "vote_shift=0",
    "share=knowledge",
    "share=knowledge vote=0",
    "share=weights vote=0",
    "lambda_ce=0",
    "lambda_kl=0",
    "lambda_ce=0 lambda_kl=0",
    "mu=0",
    "kl_on=head",
    "knowledge=class_means",
    "trunk=own",
    "heads=own",
)


def without(base: Arm, *changes: str) -> tuple[Arm, ...]:
    """Return FedD2S in one of its forms, then with each change of its keys, and Local."""
    changed = (
        Arm(change, merge(base.overrides, tuple(f"strategy.{part}" for part in change.split()))) for change in changes
    )
    return (base, *changed, LOCAL)


ARMS, PLUS_ARMS = without(FEDD2S, *CHANGES), without(FEDD2S_PLUS, *PLUS_CHANGES)

SCALES = {
    "smoke": smoke(ARMS),
    "laptop": laptop(ARMS),
    "cifar10": cifar10(PLUS_ARMS),
    "glyphs": glyphs(PLUS_ARMS),
    "paper": paper(ARMS),
}

STUDY = Study(
    name="ablation",
    question="Which parts of FedD2S contribute to its accuracy?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "ablation"),
)

if __name__ == "__main__":
    as_command(STUDY)
