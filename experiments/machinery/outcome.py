"""What the finished runs of one arm under one condition say: figures by seed, means, intervals."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import pandas as pd

from experiments.machinery.study import Arm, Condition
from fedpers.results import Run, metrics

Setting = tuple[tuple[str, float], ...]
"""Chosen hyper-parameters: values by key."""

MEASURES = ("accuracy", "gain", "harmed", "worst_10pct", "quarter", "std", "megabytes")
"""What a table has a column for; all but megabytes in %, a gain in percentage points."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Args:
        mean: The mean.
        low: Lower bound of its 95 % confidence interval, -inf for a single seed.
        high: Upper bound, likewise.
        num_seeds: Number of seeds.
    """

    mean: float
    low: float
    high: float
    num_seeds: int

    @property
    def half(self) -> float | None:
        """Half the interval's width; None for a single seed."""
        return (self.high - self.low) / 2 if math.isfinite(self.high) else None


def estimate(by_seed: Mapping[int, float]) -> Estimate | None:
    """Return mean and interval of one number a seed; None without any."""
    values = list(by_seed.values())
    if not values:
        return None
    return Estimate(sum(values) / len(values), *metrics.confidence_interval(values), len(values))


BY_SEED = ("accuracy", "gain", "worst_10pct")
"""What a table says of each seed: what two rows can be compared by, seed by seed."""


class Row(Protocol):
    """What tables and figures show of one arm under one condition, whether its runs are at hand or not."""

    @property
    def arm(self) -> Arm:
        """The arm."""

    @property
    def condition(self) -> Condition:
        """The condition."""

    @property
    def setting(self) -> Setting:
        """The hyper-parameters that tuning chose."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of finished runs."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader has to know of these runs."""

    def estimate(self, measure: str) -> Estimate | None:
        """Return a measure's mean over seeds; None where there is nothing to measure."""

    def by_seed(self, measure: str) -> dict[int, float]:
        """Return a measure by seed; nothing where it is not known."""


def paired(row: Row, other: Row, measure: str) -> Estimate | None:
    """Return the mean difference of two rows over the seeds that both have; None without any."""
    ours, theirs = row.by_seed(measure), other.by_seed(measure)
    return estimate({seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs})


@dataclass(frozen=True)
class Outcome:
    """One arm under one condition, with its runs.

    Args:
        arm: The arm.
        condition: The condition.
        setting: The hyper-parameters that tuning chose; empty where nothing was tuned.
        runs: The finished runs by seed.
        reference: The same for Local, where that is an arm.
    """

    arm: Arm
    condition: Condition
    setting: Setting
    runs: dict[int, Run]
    reference: "Outcome | None" = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of finished runs."""
        return tuple(self.runs)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Say which runs are not what they seem."""
        found = []
        for seed, run in self.runs.items():
            if failures := run.summary["num_failures"]:
                found.append(f"seed {seed}: clients failed, {failures} messages")
            figures = run.summary["last"]["test"][self.arm.column]
            if figures["num_clients"] < figures.get("of_clients", 0):
                count = f"{figures['num_clients']:g} of {figures['of_clients']}"
                found.append(f"seed {seed}: means are over {count} clients, the others could not be scored")
            if run.summary.get("diverged"):
                found.append(f"seed {seed}: training diverged, so that accuracies mean nothing")
        return tuple(found)

    def against(self, reference: "Outcome | None") -> "Outcome":
        """Return the same with a reference."""
        return dataclasses.replace(self, reference=reference)

    def estimate(self, measure: str) -> Estimate | None:
        """Return a measure's mean over seeds; None where there is nothing to measure."""
        return estimate(self.by_seed(measure))

    def by_seed(self, measure: str) -> dict[int, float]:
        """Return one of `MEASURES` by seed: of the last round, but for `quarter` and `megabytes`."""
        if measure == "megabytes":
            return {seed: sum(traffic(run)) for seed, run in self.runs.items()}
        if measure == "quarter":
            return {seed: at_quarter(run, self.curves[seed]) for seed, run in self.runs.items()}
        if measure in ("gain", "harmed"):
            scale = 100 if measure == "harmed" else 1
            return {seed: scale * value[measure] for seed, value in self._benefit.items()}
        key = "mean" if measure == "accuracy" else measure
        return {s: 100 * float(run.summary["last"]["test"][self.arm.column][key]) for s, run in self.runs.items()}

    @cached_property
    def curves(self) -> dict[int, pd.Series]:
        """The mean test accuracy over clients, in %, by round, for each seed."""
        return {seed: 100 * run.curve(self.arm.column, "test").mean(axis=1) for seed, run in self.runs.items()}

    @cached_property
    def _benefit(self) -> dict[int, dict[str, float]]:
        """Gain over the reference with the same seed, in percentage points, and share of clients that are worse off."""
        if self.reference is None or self.reference is self or self.reference.arm == self.arm:
            return {}
        result = {}
        for seed in self.runs.keys() & self.reference.runs.keys():
            ours, theirs = self._clients(seed), self.reference._clients(seed)
            both = ours.index.intersection(theirs.index)
            result[seed] = metrics.benefit(100 * ours[both], 100 * theirs[both])
        return result

    def _clients(self, seed: int) -> pd.Series:
        """Return each client's accuracy in the last round."""
        return self.runs[seed].curve(self.arm.column, "test").iloc[-1].dropna()


def at_quarter(run: Run, curve: pd.Series) -> float:
    """Return the accuracy in the last scored round of the first quarter; the first scored one if there is none."""
    rounds = [number for number in curve.index if number <= math.ceil(run.config.rounds / 4)]
    return float(curve.loc[rounds[-1]] if rounds else curve.iloc[0])


def traffic(run: Run) -> tuple[float, float]:
    """Return what clients were sent and what they sent, in MB, over the whole run."""
    down, up = (sum(run.summary["bytes"][direction].values()) / 1e6 for direction in ("down", "up"))
    return down, up


def cumulative_megabytes(run: Run) -> pd.Series:
    """Return the MB sent in both directions until the end of each round."""
    trained = run.traffic[run.traffic.phase == "train"]
    return trained.groupby("round").bytes.sum().cumsum() / 1e6
