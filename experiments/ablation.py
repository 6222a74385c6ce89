"""FedD2S with one of its parts taken away or exchanged: `python -m experiments.ablation`.

`feedback=head` withholds the soft labels that `lambda_kl=0` ignores, and `feedback=soft_labels` the heads that
`lambda_ce=0` ignores: their accuracies agree, by construction.
"""

import sys

from experiments.machinery import figures
from experiments.machinery.command import main
from experiments.machinery.scales import FEDD2S, LOCAL, laptop, paper, smoke
from experiments.machinery.study import Arm, Study

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
ARMS = (FEDD2S, *(Arm(change, (*FEDD2S.overrides, f"strategy.{change}")) for change in CHANGES), LOCAL)

SCALES = {"smoke": smoke(ARMS), "laptop": laptop(ARMS), "paper": paper(ARMS)}

STUDY = Study(
    name="ablation",
    question="Which parts of FedD2S contribute to its accuracy?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "ablation"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
