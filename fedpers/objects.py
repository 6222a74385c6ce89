"""What a program hands over instead of names, and how a configuration names it."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from fedpers import given
from fedpers.aggregation import Aggregation
from fedpers.algorithm import Algorithm
from fedpers.attacks import Attack
from fedpers.config.compose import group_choices
from fedpers.config.keys import Config
from fedpers.data.images import Images
from fedpers.data.partitions.base import Partition
from fedpers.data.shift import Shift
from fedpers.errors import UserError
from fedpers.faults import Faults
from fedpers.learning import Augment, EarlyStop, Optimizer, Schedule
from fedpers.privacy import Privacy

KINDS: dict[str, type] = {
    "strategy": Algorithm,
    "dataset": Images,
    "partition": Partition,
    "shift": Shift,
    "model": nn.Module,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "augment": Augment,
    "early_stop": EarlyStop,
    "aggregation": Aggregation,
    "faults": Faults,
    "attack": Attack,
    "privacy": Privacy,
}
"""What may be given as an object, by group."""

_FUNCTIONS = ("metrics", "figures")
INSTEAD = {"dataset": "digits"}
"""What is composed while an object is to take its place: without it quickstart's writers would be looked for."""


def is_object(key: str, value: Any) -> bool:
    """Tell whether a value is no text that the command line could hold."""
    if key in _FUNCTIONS:
        return any(not isinstance(each, str) for each in value)
    return not isinstance(value, str | bool | int | float | list | tuple | None)


def text_of(value: Any) -> str:
    """Return a plain value as the command line has it."""
    return value if isinstance(value, str) else json.dumps(value)


@dataclasses.dataclass(frozen=True)
class Named:
    """How a configuration names objects.

    Args:
        values: What their keys have.
        choices: What tables call them.
        plugins: The modules that have to be named for it.
    """

    values: dict[str, Any]
    choices: dict[str, str]
    plugins: list[str]

    def put_into(self, config: Config) -> Config:
        """Return a configuration with the objects in the place of what it named."""
        plugins = [*config.plugins, *(each for each in self.plugins if each not in config.plugins)]
        return dataclasses.replace(config, **self.values, choices=config.choices | self.choices, plugins=plugins)


def named(objects: dict[str, Any]) -> Named:
    """Return how a configuration names some objects, by key.

    Raises:
        UserError: a key takes none.
    """
    found = Named({}, {}, [])
    for key, thing in objects.items():
        if key in _FUNCTIONS:
            found.values[key], needed = _paths(key, thing)
        elif key in KINDS:
            found.values[key], needed = given.spec_of(thing, key, KINDS[key], found.plugins)
            found.choices[key] = _choice(key, thing, found.values[key]["_target_"])
        else:
            raise UserError(
                f"{key}={type(thing).__name__} is not possible. Objects are accepted for {', '.join(KINDS)}, functions "
                f"for {', '.join(_FUNCTIONS)}"
            )
        found.plugins.extend(module for module in needed if module not in found.plugins)
    return found


def _paths(key: str, things: Sequence[str | Callable[..., Any]]) -> tuple[list[str], list[str]]:
    found, needed = list[str](), list[str]()
    for thing in things:
        path, modules = (thing, []) if isinstance(thing, str) else given.path_of(thing, key)
        found.append(path)
        needed += modules
    return found, needed


def _choice(group: str, thing: Any, target: str) -> str:
    """Return what tables call a choice: a dataset's name, that of the YAML file that gives the same, or the class's."""
    if isinstance(thing, Images):
        return thing.name
    for name, path in group_choices(group).items():
        if f"\n_target_: {target}\n" in f"\n{path.read_text()}\n":
            return name
    last = target.rpartition(".")[2]
    return last.rpartition("_")[0] if given.is_given(target) else last
