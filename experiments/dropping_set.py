"""Which cuts FedD2S passes through, and in which order: `python -m experiments.dropping_set`."""

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.scales import FEDD2S, FEDD2S_PLUS, LOCAL, cifar10, glyphs, laptop, paper, smoke
from experiments.machinery.study import Arm, Study


def through(*cuts: int, base: Arm = FEDD2S) -> Arm:
    """Return FedD2S, in one of its forms, that passes through these cuts; a single one stays."""
    way = " → ".join(map(str, cuts)) if len(cuts) > 1 else f"{cuts[0]} only"
    staying = ("strategy.dropping=none",) if len(cuts) == 1 else ()
    chosen = f"strategy.dropping_set=[{','.join(map(str, cuts))}]"
    return Arm(f"cut {way}" if len(cuts) == 1 else f"cuts {way}", (*base.overrides, chosen, *staying))


ARMS = (
    through(4, 3, 2, 1),
    through(3, 2, 1),
    through(1, 2, 3, 4),
    through(1, 2, 3),
    *(through(cut) for cut in (4, 3, 2, 1)),  # the first of these is FedD2S without dropping
    LOCAL,
)

WITH_WEIGHTS = {
    scale: (*(through(*cuts, base=FEDD2S_PLUS) for cuts in ways), LOCAL)
    for scale, ways in {
        "cifar10": ((4, 3), (4, 3, 2), (4, 3, 2, 1), (1, 2, 3, 4), (4,), (3,), (2,), (1,)),
        "glyphs": ((3, 2), (3, 2, 1), (1, 2, 3), (3,), (2,), (1,)),
    }.items()
}
"""FedD2S+ at the scales whose models have four and three cuts; the first way is its default."""

SCALES = {
    "smoke": smoke(ARMS),
    "laptop": laptop(ARMS),
    "cifar10": cifar10(WITH_WEIGHTS["cifar10"]),
    "glyphs": glyphs(WITH_WEIGHTS["glyphs"]),
    "paper": paper(ARMS),
}

STUDY = Study(
    name="dropping_set",
    question="Does it matter that layers are dropped from deep to shallow, or that they are dropped at all?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "dropping_set"),
)

if __name__ == "__main__":
    as_command(STUDY)
