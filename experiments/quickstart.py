"""README's picture and table: quickstart with FedD2S and what it has to beat: `python -m experiments.quickstart`."""

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.scales import DIGITS, FEDAVG, FEDAVG_FT, FEDD2S, FEDD2S_PLUS, KNOWN, LOCAL, THREE_SEEDS
from experiments.machinery.study import Condition, Scale, Study

ARMS = (
    FEDD2S_PLUS,
    FEDD2S,
    FEDAVG_FT,
    FEDAVG,
    *KNOWN["fedper"].arms,
    LOCAL,
)

SCALES = {
    "laptop": Scale(("experiment=quickstart", "finetune_epochs=0"), ARMS, (Condition(""),), THREE_SEEDS),
    "smoke": Scale(DIGITS, ARMS, (Condition(""),), (0, 1)),
}

STUDY = Study(
    name="quickstart",
    question="What does quickstart show, beside what FedD2S has to beat?",
    scales=SCALES,
    draw=lambda found, folder: figures.curves(found, folder, "quickstart"),
    of_runs=True,
)

if __name__ == "__main__":
    as_command(STUDY)
