"""How fast FedD2S drops layers from the federation: `python -m experiments.dropping_rate`."""

import sys

from experiments.machinery import figures
from experiments.machinery.command import main
from experiments.machinery.scales import FEDD2S, LOCAL, laptop, paper, smoke
from experiments.machinery.study import Arm, Study


def arms(*intervals: int) -> tuple[Arm, ...]:
    """Return FedD2S with each interval, adaptive, without dropping, and Local."""
    return (
        *(
            Arm(f"every {n} round{'s' * (n > 1)}", (*FEDD2S.overrides, f"strategy.dropping_interval={n}"))
            for n in intervals
        ),
        Arm("adaptive", (*FEDD2S.overrides, "strategy.dropping=adaptive")),
        Arm("no dropping", (*FEDD2S.overrides, "strategy.dropping=none")),
        LOCAL,
    )


SCALES = {"smoke": smoke(arms(1, 2)), "laptop": laptop(arms(1, 2, 4, 6, 12)), "paper": paper(arms(5, 10, 25, 50))}

STUDY = Study(
    name="dropping_rate",
    question="How fast should layers leave the federation?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "dropping_rate"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
