"""Hyper-parameters are chosen for every arm alike: its grid, on seeds that are not reported, by validation."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.machinery.outcome import Setting
from experiments.machinery.study import Arm
from fedpers.config.keys import Config
from fedpers.errors import unknown_name
from fedpers.results import Run


@dataclass(frozen=True)
class Choice:
    """What tuning found for one arm under one condition.

    Args:
        setting: The best setting.
        scores: Mean validation accuracy, in %, of every setting that was tried and ran to its end.
        tried: All settings, those whose runs failed included.
    """

    setting: Setting
    scores: dict[Setting, float]
    tried: tuple[Setting, ...]


def settings(arm: Arm) -> list[Setting]:
    """Return what is tried: each value of every key in an arm's grid, all other keys at the value in their middle."""
    middle = {key: values[len(values) // 2] for key, values in arm.grid}
    tried = [tuple((middle | {key: value}).items()) for key, values in arm.grid for value in values]
    return list(dict.fromkeys(tried)) or [()]


def choose(tried: Mapping[Setting, list[Run]], column: str) -> Choice:
    """Return the setting with the highest validation accuracy in the last round, mean over clients and tuning seeds.

    The test split is not looked at. Of equals, the one tried first is chosen; so it is when every run failed.

    Args:
        tried: The finished runs of every setting.
        column: The model that is scored: `personal` or `finetuned`.
    """
    scores: dict[Setting, float] = {}
    for setting, runs in tried.items():
        values = [100 * float(run.summary["last"]["val"][column]["mean"]) for run in runs]
        if values:
            scores[setting] = sum(values) / len(values)
    best = max(scores, key=lambda setting: scores[setting]) if scores else next(iter(tried))
    return Choice(best, scores, tuple(tried))


def with_setting(config: Config, setting: tuple[tuple[str, Any], ...]) -> Config:
    """Return a configuration with other values, e.g. of `lr` or `strategy.mu`.

    Raises:
        UserError: the configuration has no such key.
    """
    changes: dict[str, Any] = {}
    for key, value in setting:
        group, dot, name = key.partition(".")
        if dot:
            spec = changes.get(group, getattr(config, group))
            if name not in spec:
                raise unknown_name("key", key, (f"{group}.{each}" for each in spec))
            changes[group] = {**spec, name: value}
        else:
            changes[key] = value
    return dataclasses.replace(config, **changes)
