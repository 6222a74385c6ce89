"""Clients that are away, and clients that are slow: `python -m experiments.availability`.

Who is away in a round is not called, so that Local trains less, too. Stragglers are half of all clients: they need four
times as long as the others, and the server waits as long as these need. What stragglers send is not taken, or they
train a quarter of their mini-batches.
"""

from pathlib import Path

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.outcome import Outcome
from experiments.machinery.scales import (
    FEDAVG,
    FEDAVG_FT,
    FEDD2S,
    FEDD2S_PLUS,
    FEW_SAMPLES,
    LOCAL,
    laptop,
    paper,
    smoke,
)
from experiments.machinery.study import Arm, Condition, Study, merge

ARMS = (LOCAL, FEDAVG, FEDAVG_FT, Arm("FedPer", ("strategy=fedper",)), FEDD2S, FEDD2S_PLUS)
NOWHERE = -1.0
"""Where conditions lie that have no place on an axis."""


def dropout(*shares: float) -> tuple[Condition, ...]:
    """Return a condition for each share of the clients that is away."""
    return tuple(
        Condition(f"{100 * share:g} % away", ("faults=simulated", f"faults.dropout={share:g}"), 100 * share)
        for share in shares
    )


SLOW = ("faults=simulated", "faults.speeds=[1.0,0.25]", "faults.deadline=1.0")
STRAGGLERS = (
    Condition("half are slow, dropped", (*SLOW, "faults.late=dropped"), NOWHERE),
    Condition("half are slow, partial work", (*SLOW, "faults.late=partial"), NOWHERE),
)
ABSENT = Condition(
    "half are away for 5 rounds on end",
    ("faults=simulated", "faults.dropout=0.5", "faults.pattern=markov", "faults.absence=5"),
    NOWHERE,
)


def draw(found: list[Outcome], folder: Path) -> list[Path]:
    """Draw accuracy over dropout, and beside it what stragglers and long absences do."""
    on_axis = [each for each in found if each.condition.x != NOWHERE]
    others = [each for each in found if each.condition.x == NOWHERE]
    written = figures.lines(on_axis, folder, "availability", "clients that are away in a round (%)", log=False)
    return [*written, *figures.dots(others, folder, "availability_stragglers")]


SCALES = {
    "smoke": smoke(ARMS, (*dropout(0, 0.5), *STRAGGLERS)),
    "laptop": laptop(
        ARMS,
        (*dropout(0, 0.2, 0.4, 0.6, 0.8), *STRAGGLERS, ABSENT),
        merge(FEW_SAMPLES, ("partition.alpha=0.5", "eval_every=6")),
    ),
    "paper": paper(ARMS, (*dropout(0, 0.2, 0.4, 0.6, 0.8), *STRAGGLERS, ABSENT)),
}

STUDY = Study(
    name="availability",
    question="What remains of each method when clients are away, or too slow for the server?",
    scales=SCALES,
    draw=draw,
    sections=lambda _found: ["![Stragglers, and long absences](availability_stragglers.png)"],
)

if __name__ == "__main__":
    as_command(STUDY)
