"""From a study's arms and conditions to configured runs; two arms that need the same run share it."""

import dataclasses
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.machinery import tuning
from experiments.machinery.jobs import Job
from experiments.machinery.outcome import Outcome, Setting
from experiments.machinery.study import Arm, Condition, Overrides, Scale, merge
from experiments.machinery.tuning import Choice
from fedpers.config.compose import ALL_GROUPS, compose_config, merged
from fedpers.config.identity import identity
from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.provenance import run_sha256
from fedpers.results import Run

FIXED: Overrides = ("engine.num_threads=1", "figures=[]")
REFERENCE = "Local"
"""The arm that gains are measured against, where a study has it."""

Pair = tuple[Condition, Arm]


class Plan:
    """All runs of a study.

    Args:
        scale: The study at one scale.
        overrides: The user's, on top of every run's.
        folder: Holds the run directories.
        config_dir: A folder with groups of the user's own.

    Raises:
        UserError: a run cannot be composed.
    """

    def __init__(self, scale: Scale, overrides: Overrides, folder: Path, config_dir: str | None = None) -> None:
        """Compose one configuration for each arm under each condition; grid and seeds only change values in it."""
        self.scale, self.folder = scale, folder
        common = merge(FIXED, tuple(merged(scale.common, overrides)))
        self.bases: dict[Pair, Config] = {}
        for condition in scale.conditions:
            for arm in scale.arms:
                config, arm = _satisfied(compose(common, merge(condition.overrides, arm.overrides), config_dir), arm)
                self.bases[condition, arm] = config
        self._tuning = _changes(scale.tuning)
        self._codes = {pair: run_sha256(base) for pair, base in self.bases.items()}
        self._jobs: dict[tuple[str, object], Job] = {}

    def restrict(self, pairs: Collection[Pair]) -> None:
        """Leave all other arms out."""
        self.bases = {pair: base for pair, base in self.bases.items() if pair in pairs}

    def check(self) -> None:
        """Prepare all data and raise a UserError if a run is impossible; nothing has been run yet."""
        from fedpers.assembly import check, open_run

        for pair, base in self.bases.items():
            for seed in (*self.scale.tuning_seeds, *self.scale.seeds):
                config, shards = open_run(dataclasses.replace(base, seed=seed).to_json())
            for setting in self._grid(pair):
                check(tuning.with_setting(config, setting), shards)

    def job(self, pair: Pair, setting: Setting, seed: int) -> Job:
        """Return one run: the same one for arms that have the same configuration, by the same code."""
        config = dataclasses.replace(tuning.with_setting(self.bases[pair], setting), seed=seed)
        if seed in self.scale.tuning_seeds:
            config = tuning.with_setting(config, self._tuning)
        code = self._codes[pair]
        key = (json.dumps(identity(config), sort_keys=True), code or pair)
        if key not in self._jobs:
            condition, arm = pair
            values = [f"{key.rpartition('.')[2]}={value:g}" for key, value in setting]
            tag = "" if seed in self.scale.tuning_seeds else self.scale.tag
            words = [_slug(arm.name), _slug(condition.name), *values, f"seed={seed}", tag]
            name = ",".join(word for word in words if word)
            if any(job.name == name for job in self._jobs.values()):
                raise UserError(
                    f"two methods would write to {self.folder / name}, one of them {arm.name!r}. Accepted: names that "
                    "differ in letters or digits"
                )
            self._jobs[key] = Job(name, dataclasses.replace(config, out=str(self.folder / name)), code)
        return self._jobs[key]

    def trials(self, kept: Collection[Pair] = ()) -> dict[Pair, dict[Setting, list[Job]]]:
        """Return the runs that hyper-parameters are chosen on; none where the scale tunes nothing, or for kept rows."""
        seeds = self.scale.tuning_seeds
        if not seeds:
            return {}
        return {
            pair: {s: [self.job(pair, s, seed) for seed in seeds] for s in self._grid(pair)}
            for pair in self.bases
            if pair not in kept
        }

    def reported(self, choices: Mapping[Pair, Choice]) -> dict[Pair, dict[int, Job]]:
        """Return the runs that are reported, by seed."""
        return {pair: self.jobs(pair, choices, seeds) for pair, seeds in self.seeds(choices).items()}

    def jobs(self, pair: Pair, choices: Mapping[Pair, Choice], seeds: Sequence[int]) -> dict[int, Job]:
        """Return runs with what tuning chose, by seed."""
        setting = choices[pair].setting if pair in choices else ()
        return {seed: self.job(pair, setting, seed) for seed in seeds}

    def seeds(self, choices: Mapping[Pair, Choice]) -> dict[Pair, tuple[int, ...]]:
        """Return which seeds are reported: further ones of arms that are looked at closely."""
        best: set[Pair] = set()
        for condition in self.scale.conditions:
            scores = {
                pair: choice.scores.get(choice.setting, -1.0)
                for pair, choice in choices.items()
                if pair[0] == condition and not pair[1].closely
            }
            best |= {*sorted(scores, key=lambda pair: -scores[pair])[: self.scale.num_best]}
        more = self.scale.more_seeds
        return {pair: (*self.scale.seeds, *(more if pair[1].closely or pair in best else ())) for pair in self.bases}

    def _grid(self, pair: Pair) -> list[Setting]:
        return tuning.settings(pair[1]) if self.scale.tuning_seeds else [()]


def compose(common: Overrides, own: Overrides, config_dir: str | None = None) -> Config:
    """Compose a run's configuration; what has the same choices is composed once, for that takes a while.

    Args:
        common: What all runs have.
        own: What this one has; values are written as in JSON, or are words.
        config_dir: A folder with groups of the user's own.

    Raises:
        UserError: a choice or key does not exist, or a value is not what its key accepts.
    """
    choices = tuple(text for text in own if text.partition("=")[0] in ALL_GROUPS)
    changes = _changes(tuple(text for text in own if text not in choices))
    return tuning.with_setting(_compose(merge(common, choices), config_dir), changes)


def _satisfied(config: Config, arm: Arm) -> tuple[Config, Arm]:
    """Change what the arm's algorithm needs, in its configuration and in what is told of it."""
    from fedpers.assembly import build_algorithm

    needs = build_algorithm(config).needs(config)
    told = (f"{key}={json.dumps(value)}" for key, value in needs.items())
    overrides = merge(arm.overrides, tuple(told))
    return dataclasses.replace(config, **needs), dataclasses.replace(arm, overrides=overrides)


@lru_cache
def _compose(overrides: Overrides, config_dir: str | None) -> Config:
    return compose_config(list(overrides), config_dir)


def _changes(overrides: Overrides) -> tuple[tuple[str, Any], ...]:
    pairs = (text.partition("=")[::2] for text in overrides)
    return tuple((key, _value(value)) for key, value in pairs)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def distinct(jobs: Iterable[Job]) -> list[Job]:
    """Return every run once, in the order given."""
    return list({job.name: job for job in jobs}.values())


def choose(trials: dict[Pair, dict[Setting, list[Job]]]) -> dict[Pair, Choice]:
    """Return what tuning found for each arm under each condition."""
    return {
        pair: tuning.choose(
            {setting: [Run(job.folder) for job in jobs if job.is_done()] for setting, jobs in tried.items()},
            pair[1].column,
        )
        for pair, tried in trials.items()
    }


def outcomes(reported: Mapping[Pair, Mapping[int, Job]], choices: Mapping[Pair, Choice]) -> list[Outcome]:
    """Open what was reported, condition by condition, with Local under the same condition as the reference."""
    found = {
        (condition, arm): Outcome(
            arm,
            condition,
            choices[condition, arm].setting if (condition, arm) in choices else (),
            {seed: Run(job.folder) for seed, job in jobs.items() if job.is_done()},
        )
        for (condition, arm), jobs in reported.items()
    }
    references = {condition: outcome for (condition, arm), outcome in found.items() if arm.name == REFERENCE}
    return [outcome.against(references.get(condition)) for (condition, _), outcome in found.items()]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._=]+", "-", re.sub(r"(?<=\w)\+", " plus", text.lower())).strip("-")
