"""Which cuts FedD2S passes through, and in which order: `python -m experiments.dropping_set`."""

import sys

from experiments.machinery import figures
from experiments.machinery.command import main
from experiments.machinery.scales import FEDD2S, LOCAL, laptop, paper, smoke
from experiments.machinery.study import Arm, Study


def through(*cuts: int) -> Arm:
    """Return FedD2S that passes through these cuts; a single one stays."""
    way = " → ".join(map(str, cuts)) if len(cuts) > 1 else f"{cuts[0]} only"
    staying = ("strategy.dropping=none",) if len(cuts) == 1 else ()
    chosen = f"strategy.dropping_set=[{','.join(map(str, cuts))}]"
    return Arm(f"cut {way}" if len(cuts) == 1 else f"cuts {way}", (*FEDD2S.overrides, chosen, *staying))


ARMS = (
    through(4, 3, 2, 1),
    through(3, 2, 1),
    through(1, 2, 3, 4),
    through(1, 2, 3),
    *(through(cut) for cut in (4, 3, 2, 1)),  # the first of these is FedD2S without dropping
    LOCAL,
)

SCALES = {"smoke": smoke(ARMS), "laptop": laptop(ARMS), "paper": paper(ARMS)}

STUDY = Study(
    name="dropping_set",
    question="Does it matter that layers are dropped from deep to shallow, or that they are dropped at all?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "dropping_set"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
