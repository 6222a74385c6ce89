"""Rounds, bytes and seconds to a target accuracy: `python -m experiments.convergence`, on the runs of the comparison.

Where the comparison scores too seldom for a curve, its chosen settings are run again.
"""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from experiments import comparison
from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.outcome import Outcome, cumulative_megabytes
from experiments.machinery.pages import markdown_table
from experiments.machinery.plan import REFERENCE
from experiments.machinery.study import Scale, Study, merge
from fedpers.results import Run, metrics

SHARES = (0.9, 0.98)
SHOWN = frozenset(
    (
        "FedD2S",
        "FedD2S+",
        "FedD2S+, own heads",
        "Local",
        "FedAvg",
        "FedAvg + FT",
        "FedPer",
        "FedRep",
        "FedProto",
        "FedALA",
        "FedPAC",
        "kNN-Per",
    )
)
"""What the comparison's methods are represented by: more curves could not be told apart."""


class Reached(NamedTuple):
    """When a run reached a target: the round, and the MB sent and the seconds passed until then."""

    round: float
    megabytes: float
    seconds: float


def targets(found: Sequence[Outcome]) -> dict[str, float]:
    """Return the accuracies, in %, to be reached under one condition: nearly the best last one, and Local's."""
    ends = {o.arm.name: value.mean for o in found if (value := o.estimate("accuracy"))}
    wanted = {f"{100 * share:g} % of the best": share * max(ends.values()) for share in SHARES}
    return wanted | ({f"{REFERENCE}'s last": ends[REFERENCE]} if REFERENCE in ends else {})


def reached(outcome: Outcome, target: float) -> dict[int, Reached]:
    """Return when each seed's mean accuracy over clients first reached a target; seeds that never did are absent."""
    result = {}
    for seed, curve in outcome.curves.items():
        points = list(zip(map(float, curve.index), map(float, curve), strict=True))
        number = metrics.first_reaching(points, target)
        if number is not None:
            run = outcome.runs[seed]
            megabytes = cumulative_megabytes(run)
            result[seed] = Reached(
                number, float(megabytes[megabytes.index <= number].iloc[-1]), number * seconds_a_round(run)
            )
    return result


def seconds_a_round(run: Run) -> float:
    """Return the seconds that a run took for each of its rounds, scoring included."""
    return float(run.summary["seconds"]) / run.config.rounds


def sections(found: Sequence[Outcome]) -> list[str]:
    """Return the table of rounds and MB to each target."""
    cells = []
    for condition in dict.fromkeys(o.condition for o in found):
        group = [o for o in found if o.condition == condition]
        for name, target in targets(group).items():
            for outcome in group:
                first = reached(outcome, target)
                cells.append(
                    [
                        condition.name,
                        f"{target:.1f} ({name})",
                        outcome.arm.name,
                        f"{len(first)} of {len(outcome.runs)}",
                        _mean(first, lambda when: when.round, "{:.1f}"),
                        _mean(first, lambda when: when.megabytes, "{:.2f}"),
                        _mean(first, lambda when: when.seconds, "{:.1f}"),
                    ]
                )
    text = (
        "First scored round in which the mean test accuracy over clients reaches a target, the MB sent in both "
        "directions until then, and the seconds: those of the run, shared evenly over its rounds, on one core of a "
        "machine that may have done other work beside it. Means over the seeds that reach it."
    )
    headers = ["", "target accuracy", "method", "seeds that reach it", "rounds", "MB", "seconds"]
    return ["## Rounds, bytes and seconds to a target accuracy", text, markdown_table(headers, cells)]


def _mean(first: dict[int, Reached], part: Callable[[Reached], float], form: str) -> str:
    return form.format(statistics.fmean(map(part, first.values()))) if first else "–"


def _scale(name: str) -> Scale:
    scale = comparison.SCALES[name]
    shown = dataclasses.replace(scale, arms=tuple(arm for arm in scale.arms if arm.name in SHOWN))
    if name in ("smoke", "paper"):
        return shown
    return dataclasses.replace(shown, common=merge(scale.common, ("eval_every=1",)), tag="scored-every-round")


STUDY = Study(
    name="convergence",
    question="How many rounds, bytes and seconds does each method need to reach an accuracy?",
    scales={name: _scale(name) for name in comparison.SCALES},
    draw=lambda found, folder: figures.curves(found, folder, "convergence"),
    sections=sections,
    runs_of="comparison",
    of_runs=True,
)

if __name__ == "__main__":
    as_command(STUDY)
