"""What a study is: arms under conditions, at several scales."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Overrides = tuple[str, ...]


@dataclass(frozen=True)
class Arm:
    """One row of a table.

    Args:
        name: What tables call it.
        overrides: What distinguishes its runs.
        column: The model that is reported: `personal` or `finetuned`.
        grid: Values to try by key, where the scale tunes; see `experiments.machinery.tuning.settings`.
        closely: It is always looked at on the scale's further seeds.
    """

    name: str
    overrides: Overrides
    column: str = "personal"
    grid: tuple[tuple[str, tuple[float, ...]], ...] = ()
    closely: bool = False


@dataclass(frozen=True)
class Condition:
    """What all arms are compared under, e.g. a Dirichlet concentration.

    Args:
        name: What tables call it.
        overrides: What distinguishes its runs.
        x: Its place on the axis of a figure, where it has one.
    """

    name: str
    overrides: Overrides = ()
    x: float = 0.0


@dataclass(frozen=True)
class Scale:
    """One size of a study.

    Args:
        common: Overrides of every run.
        arms: What is compared.
        conditions: Under what.
        seeds: Seeds that are reported.
        tuning_seeds: Seeds that hyper-parameters are chosen on; none of those reported. Empty: nothing is tuned.
        tuning: Further overrides of the runs on these seeds, e.g. fewer evaluations.
        tag: Is added to the names of reported runs, where two studies have different ones in one folder.
        more_seeds: Further seeds that are reported for arms that are looked at closely: those that say so, and under
            each condition the `num_best` with the highest validation accuracy in tuning.
        num_best: How many these are.
        newcomer: Returns the arm of an algorithm from outside, by its name; None: this study has no place for it.
    """

    common: Overrides
    arms: tuple[Arm, ...]
    conditions: tuple[Condition, ...]
    seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...] = ()
    tuning: Overrides = ()
    tag: str = ""
    newcomer: Callable[[str], Arm] | None = None
    more_seeds: tuple[int, ...] = ()
    num_best: int = 10

    def __post_init__(self) -> None:
        """Keep tuning away from what is reported."""
        reported = {*self.seeds, *self.more_seeds}
        assert not reported & set(self.tuning_seeds), "seeds that are tuned on must not be reported"
        assert len({arm.name for arm in self.arms}) == len(self.arms), "arms have different names"

    def num_runs(self) -> int:
        """Return the number of runs if no two arms share any and none that are looked at closely are of the best."""
        settings = [1 + sum(len(values) - 1 for _, values in arm.grid) for arm in self.arms]
        tuning = sum(settings) * len(self.tuning_seeds)
        closely = sum(arm.closely for arm in self.arms)
        closely += min(self.num_best, len(self.arms) - closely) if self.tuning_seeds else 0
        more = closely * len(self.more_seeds)
        return len(self.conditions) * (tuning + len(self.arms) * len(self.seeds) + more)


@dataclass(frozen=True)
class Study:
    """A question that runs answer.

    Args:
        name: The module's name, and that of its files.
        question: What it asks, in one sentence.
        scales: Its runs by scale; the first one is the default.
        draw: Draws its figure and returns the files written.
        sections: Additional sections of its page, as Markdown.
        runs_of: The study whose run directories it shares; empty: it has its own.
        of_runs: Figure or sections look into the runs themselves, so that rows of a finished table do not do for them.
    """

    name: str
    question: str
    scales: Mapping[str, Scale]
    draw: Callable[..., list[Path]]
    sections: Callable[..., list[str]] | None = None
    runs_of: str = ""
    of_runs: bool = False


@dataclass(frozen=True)
class Options:
    """A study's command line, read."""

    scale: str
    jobs: int
    folder: Path
    runs: Path
    overrides: Overrides
    command: str
    reuse: bool = False
    only: tuple[str, ...] = ()
    config_dir: str | None = None


def merge(*parts: Overrides) -> Overrides:
    """Join overrides; of two with one key the later one counts."""
    return tuple({text.partition("=")[0]: text for part in parts for text in part}.values())


def told(condition: Condition, arm: Arm) -> str:
    """Return what distinguishes an arm's runs under a condition, as tables tell it."""
    return " ".join((*condition.overrides, *arm.overrides))
