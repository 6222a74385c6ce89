"""Fewer clients a round, equally many rounds: `python -m experiments.participation_ratio`."""

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.scales import (
    FEDAVG,
    FEDAVG_FT,
    FEDD2S,
    FEDD2S_PLUS,
    FEW_SAMPLES,
    LOCAL,
    WRITERS,
    cifar10,
    cifar10_laptop,
    glyphs,
    laptop,
    paper,
    smoke,
)
from experiments.machinery.study import Condition, Study, merge

ARMS = (FEDD2S, LOCAL, FEDAVG, FEDAVG_FT)
PLUS_ARMS = (FEDD2S_PLUS, *ARMS)


def ratios(*values: float) -> tuple[Condition, ...]:
    """Return a condition for each share of the clients that is sampled in a round."""
    return tuple(Condition(f"{100 * v:g} % of clients", (f"participation={v:g}",), 100 * v) for v in values)


SCALES = {
    "smoke": smoke(ARMS, ratios(0.5, 1.0)),
    "laptop": laptop(ARMS, ratios(0.2, 0.5, 1.0), merge(FEW_SAMPLES, ("partition.alpha=0.5",))),
    "cifar10": cifar10(PLUS_ARMS, ratios(0.2, 0.5, 1.0), cifar10_laptop(0.5)[0].overrides),
    "glyphs": glyphs(PLUS_ARMS, ratios(0.1, 0.3, 1.0), WRITERS[0].overrides),
    "paper": paper(ARMS, ratios(0.2, 0.5, 1.0)),
}

STUDY = Study(
    name="participation_ratio",
    question="What remains of each method after equally many rounds when only some clients take part in a round?",
    scales=SCALES,
    draw=lambda found, folder: figures.lines(
        found, folder, "participation_ratio", "clients that train in a round (%)", log=False
    ),
)

if __name__ == "__main__":
    as_command(STUDY)
