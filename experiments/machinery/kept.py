"""Rows of a finished table, read from its files, so that others can be added or renewed: `only=METHOD,...`."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.machinery.outcome import BY_SEED, Estimate, Outcome, Setting
from experiments.machinery.plan import REFERENCE, Pair
from experiments.machinery.study import Arm, Condition, told
from experiments.machinery.tuning import Choice
from fedpers.errors import UserError


@dataclass(frozen=True)
class KeptRow:
    """One arm under one condition as a table tells it; `experiments.machinery.outcome.Row` says what of.

    Args:
        arm: The arm.
        condition: The condition.
        setting: The hyper-parameters that tuning chose.
        seeds: The seeds of its runs.
        remarks: What a reader has to know of these.
        estimates: Means and intervals by measure.
        each: Measures by seed.
    """

    arm: Arm
    condition: Condition
    setting: Setting
    seeds: tuple[int, ...]
    remarks: tuple[str, ...]
    estimates: Mapping[str, Estimate]
    each: Mapping[str, dict[int, float]]

    def estimate(self, measure: str) -> Estimate | None:
        """Return a measure's mean over seeds; None where there is nothing to measure."""
        return self.estimates.get(measure)

    def by_seed(self, measure: str) -> dict[int, float]:
        """Return a measure by seed; nothing where the table does not know it."""
        return self.each.get(measure, {})


@dataclass(frozen=True)
class Kept:
    """What a finished study knows of the arms that are not run now.

    Args:
        rows: Their rows.
        choices: What tuning found for them.
    """

    rows: dict[Pair, KeptRow]
    choices: dict[Pair, Choice]

    def checks(self) -> dict[Pair, tuple[int, ...]]:
        """Return the runs by which kept rows are looked at again: the reference's all, of others one seed each.

        That is the first seed under the first condition.
        """
        first = next(iter(self.rows), (None, None))[0]
        return {
            pair: row.seeds if pair[1].name == REFERENCE else row.seeds[:1]
            for pair, row in self.rows.items()
            if pair[0] == first or pair[1].name == REFERENCE
        }

    def compare(self, found: Sequence[Outcome]) -> None:
        """Raise a UserError when runs do not give what the kept rows of their arms say, to the last digit."""
        odd = []
        for outcome in found:
            row = self.rows.get((outcome.condition, outcome.arm))
            for seed, now in outcome.by_seed("accuracy").items() if row else ():
                then = row.by_seed("accuracy").get(seed) if row else None
                if then != now:
                    odd.append((outcome.arm.name, f"{outcome.condition.name}, seed {seed}: {then} then, {now} now"))
        if odd:
            raise UserError(
                f"rows of the finished table do not come out again: {'; '.join(f'{n}, {text}' for n, text in odd)}. "
                f"Nothing was written. Run them again too, with only={','.join(dict.fromkeys(n for n, _ in odd))},..., "
                "or the whole study without only="
            )


NOTHING = Kept({}, {})


def read(folder: Path, name: str, pairs: Sequence[Pair]) -> Kept:
    """Read a finished study's files; nothing is kept where there are none.

    Args:
        folder: Holds them.
        name: The study's name.
        pairs: The arms under their conditions that may be kept, as the study would run them now.

    Raises:
        UserError: the study has changed since they were made.
    """
    path = folder / f"{name}.csv"
    if not path.is_file():
        return NOTHING
    by_name = {(condition.name, arm.name): (condition, arm) for condition, arm in pairs}
    rows = {}
    for line in _lines(path):
        pair = by_name.get((line["condition"], line["method"]))
        if pair is None:
            continue
        condition, arm = pair
        overrides = told(condition, arm)
        if line["overrides"] != overrides:
            raise UserError(
                f"{path}: {arm.name}, {condition.name} was run with {line['overrides']}, "
                f"the study has {overrides} now. Run it again too: only={arm.name},..."
            )
        rows[pair] = _row(condition, arm, line)
    return Kept(rows, _choices(folder / f"{name}_tuning.csv", {name: p for name, p in by_name.items() if p in rows}))


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _row(condition: Condition, arm: Arm, line: Mapping[str, str]) -> KeptRow:
    each: dict[str, dict[int, float]] = {measure: {} for measure in BY_SEED}
    for column, text in line.items():
        measure, found, seed = column.partition("_seed_")
        if found and text:
            each[measure][int(seed)] = float(text)
    seeds, estimates = tuple(each["accuracy"]), {}
    for column in line:
        measure, found, _ = column.rpartition("_mean")
        if found and line[column]:
            low, high = (float(line[f"{measure}_{end}"] or none) for end, none in (("low", "-inf"), ("high", "inf")))
            estimates[measure] = Estimate(float(line[column]), low, high, len(seeds))
    remarks = tuple(text for text in line.get("remarks", "").split("; ") if text)
    return KeptRow(arm, condition, _setting(line["setting"], arm), seeds, remarks, estimates, each)


def _choices(path: Path, by_name: Mapping[tuple[str, str], Pair]) -> dict[Pair, Choice]:
    if not path.is_file():
        return {}
    tried: dict[Pair, dict[Setting, str]] = {}
    chosen: dict[Pair, Setting] = {}
    for line in _lines(path):
        pair = by_name.get((line["condition"], line["method"]))
        if pair:
            setting = _setting(line["setting"], pair[1])
            tried.setdefault(pair, {})[setting] = line["validation_accuracy"]
            if line["chosen"] == "True":
                chosen[pair] = setting
    return {
        pair: Choice(chosen[pair], {s: float(text) for s, text in scores.items() if text}, tuple(scores))
        for pair, scores in tried.items()
    }


def _setting(text: str, arm: Arm) -> Setting:
    """Read a setting; values are those of the arm's grid, where it has them: a whole number stays one."""
    known = {(key, f"{value:g}"): value for key, values in arm.grid for value in values}
    pairs = (word.partition("=")[::2] for word in text.split())
    return tuple((key, known.get((key, value), float(value))) for key, value in pairs)
