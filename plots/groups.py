"""Which runs make one curve, and what that curve is called and looks like."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fedpers.errors import UserError
from fedpers.results import Run
from plots import style


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only: one curve.

    Args:
        name: What distinguishes it from the other groups.
        runs: The runs, in the order given.
        color: Colour of its curve.
        line: Line style of its curve.
    """

    name: str
    runs: tuple[Run, ...]
    color: str
    line: str

    @property
    def label(self) -> str:
        """The name, and how many seeds the curve is a mean of if there are several."""
        return f"{self.name} ({len(self.runs)} seeds)" if len(self.runs) > 1 else self.name

    @property
    def num_clients(self) -> int:
        """Number of clients, over all seeds."""
        return sum(len(run.clients) for run in self.runs)

    def has(self, metric: str) -> bool:
        """Tell whether the clients' own models have a metric in every run; they have an accuracy.

        A run that lacks even that is not left out: it cannot be drawn, and `personal` says so.
        """
        if metric == "accuracy":
            return True
        measured = all(metric in run.metric_names for run in self.runs)
        return measured and not self.values("personal", metric).dropna(how="all").empty

    def values(self, model: str, metric: str) -> pd.DataFrame:
        """Return a metric of a model on the test split, an accuracy in %, as a table of rounds by clients.

        Every client of every seed has a column, without a value in rounds in which it failed or had none; there are
        only rounds that all seeds have. The table is empty if a run has no such model.
        """
        scale = 100 if metric == "accuracy" else 1
        tables = [scale * run.curve(model, "test", metric) for run in self.runs]
        table = pd.concat(tables, axis=1, join="inner", keys=range(len(tables))).sort_index()
        return table.where(np.isfinite(table))  # a diverged model's loss has no place on an axis

    def personal(self, metric: str) -> pd.DataFrame:
        """Return a metric of the clients' own models, without rounds in which nobody has it.

        Raises:
            UserError: no round of a run has been scored.
        """
        for run in self.runs:
            if run.curve("personal", "test").empty:
                raise UserError(f"{run.folder} holds no scored round: the run ended before its first. Leave it out")
        table = self.values("personal", metric)
        if table.empty:
            folders = ", ".join(str(run.folder) for run in self.runs)
            raise UserError(f"no round was scored in all of {folders}. Leave out those that ended early")
        return table.dropna(how="all")


def families(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return what the runs measured, accuracy first; those that share a name ("class_accuracy/3") go together."""
    groups, found = group_runs(list(runs)), {"accuracy": ["accuracy"]}
    for name in dict.fromkeys(name for run in runs for name in run.metric_names if name != "accuracy"):
        if any(group.has(name) for group in groups):
            found.setdefault(name.partition("/")[0], []).append(name)
    return found


def wording(metric: str) -> str:
    """Return what an axis calls a metric."""
    return "accuracy (%)" if metric == "accuracy" else metric.partition("/")[0].replace("_", " ")


def file_name(family: str) -> str:
    """Return a family's name for files; what stands in a table from elsewhere must not name another folder."""
    return re.sub("[^0-9A-Za-z_]", "_", family)


def group_runs(runs: list[Run]) -> list[Group]:
    """Group runs that differ in their seed only; runs given twice count once.

    Two runs with the same configuration and the same seed are two curves: somebody repeated a run to compare.
    """
    members: dict[tuple[str, int], list[Run]] = {}
    for run in {run.folder.resolve(): run for run in runs}.values():
        key, repetition = _key(run), 0
        while run.config.seed in [other.config.seed for other in members.get((key, repetition), [])]:
            repetition += 1
        members.setdefault((key, repetition), []).append(run)
    names = _names(list(members.values()))
    looks = [style.look(number) for number in range(len(names))]
    return [Group(name, tuple(group), *look) for name, group, look in zip(names, members.values(), looks, strict=True)]


def _key(run: Run) -> str:
    """Return what runs of one curve have in common: the strategy's name, and all that affects results but the seed."""
    values = {key: value for key, value in run.identity.items() if key != "seed"}
    return json.dumps([run.config.choices.get("strategy"), values], sort_keys=True)


def _names(groups: list[list[Run]]) -> list[str]:
    """Return each group's label, with what its folder adds to it where several have the same."""
    labels = [group[0].label for group in groups]
    names = []
    for group, label in zip(groups, labels, strict=True):
        rivals = [g[0].folder for g, other in zip(groups, labels, strict=True) if other == label]
        folder = group[0].folder
        names.append(label if len(rivals) == 1 else f"{label}, {_distinction(folder, rivals)}")
    return names


def _distinction(folder: Path, rivals: list[Path]) -> str:
    """Return the end of a run's folder, as long as no rival shares it, without strategy and seed if it can be."""
    longest = max(len(path.resolve().parts) for path in rivals)
    for dropped in (("strategy=", "seed="), ("strategy=",), ()):
        for depth in range(1, longest + 1):
            ends = [_end(path, depth, dropped) for path in rivals]
            if all(ends) and len(set(ends)) == len(ends):
                return _end(folder, depth, dropped)
    return str(folder)


def _end(folder: Path, depth: int, dropped: tuple[str, ...]) -> str:
    """Return the last `depth` folders of a path, without `key=value` of the dropped keys."""
    parts = [
        ",".join(text for text in part.split(",") if not text.startswith(dropped))
        for part in folder.resolve().parts[-depth:]
    ]
    return "/".join(part for part in parts if part)
