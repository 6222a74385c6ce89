"""What two configurations have in common that give the same data, or the same results."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from fedpers.config.keys import Config


def identity(config: Config | Mapping[str, Any], up_to: Literal["data", "result"] = "result") -> dict[str, Any]:
    """Return the part of a configuration that determines the prepared data, or all numbers of a run.

    Whoever asks whether something was made by the same configuration (prepared data, a finished run, a curve, a
    checkpoint) compares this and nothing else. It is made of names and plain values only, so it can be written as JSON.

    - `_target_`, at any depth, counts by the last of its names: where a class lies may change. Two classes of one name
      are told apart by their code, see `fedpers.closure`.
    - A key that is absent counts as its default: a file from before there was one says the same as one from after.

    Args:
        config: A configuration, or what a run's `config.json` holds.
        up_to: "data": keys that affect the prepared data. "result": those, and the keys that affect results.
    """
    values = vars(config) if isinstance(config, Config) else config
    counting = ("data",) if up_to == "data" else ("data", "result")
    return {
        key.name: without_paths(values[key.name] if key.name in values else _default(key))
        for key in dataclasses.fields(Config)
        if key.metadata["affects"] in counting
    }


def without_paths(value: Any) -> Any:
    """Return plain values in which every `_target_`, at any depth, is the last of its names."""
    if isinstance(value, Mapping):
        return {
            key: str(item).rpartition(".")[2] if key == "_target_" else without_paths(item)
            for key, item in value.items()
        }
    return [without_paths(item) for item in value] if isinstance(value, list | tuple) else value


def targets(value: Any) -> list[str]:
    """Return every `_target_` in plain values, at any depth, in the order of the alphabet."""
    if isinstance(value, Mapping):
        own = [str(value["_target_"])] if "_target_" in value else []
        return sorted({*own, *targets(list(value.values()))})
    return sorted({path for item in value for path in targets(item)}) if isinstance(value, list | tuple) else []


def _default(key: dataclasses.Field[Any]) -> Any:
    return key.default if key.default_factory is dataclasses.MISSING else key.default_factory()
