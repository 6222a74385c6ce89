"""Compose a configuration from `configs/` and command-line overrides, by Hydra."""

import dataclasses
import itertools
import re
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedpers.config.build import described
from fedpers.config.keys import GROUPS, Config, is_path
from fedpers.errors import UserError, unknown_name

ALL_GROUPS = ("experiment", *GROUPS)
_QUOTED = re.compile(r"""'([^'\\]|\\.)*'|"([^"\\]|\\.)*\"""", re.DOTALL)


def config_folders(extra: str | None = None) -> list[Path]:
    """Return the folders that hold YAML: the user's own first, then those that come with fedpers.

    Raises:
        UserError: the user's is no folder.
    """
    package = Path(__file__).parents[1]
    inside = package / "configs"  # in an installed wheel
    own = inside if inside.is_dir() else package.parent / "configs"
    if extra is None:
        return [own]
    folder = Path(extra).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"--config-dir {extra}: there is no such folder. Accepted: one that holds strategy/MINE.yaml")
    return [own] if folder == own.resolve() else [folder, own]


def group_choices(group: str, extra: str | None = None) -> dict[str, Path]:
    """Return the YAML file of every choice in a group.

    Raises:
        UserError: a file of the user's has the name of one that comes with fedpers.
    """
    found: dict[str, Path] = {}
    for path in (path for folder in config_folders(extra) for path in sorted((folder / group).glob("*.yaml"))):
        if path.stem in found:
            raise UserError(f"{found[path.stem]} has the name of a {group} of fedpers. Accepted: another name")
        found[path.stem] = path
    return found


def own_values() -> dict[str, Any]:
    """Return the top-level keys that configs/config.yaml sets, groups left out."""
    found: Any = OmegaConf.to_container(OmegaConf.load(config_folders()[-1] / "config.yaml"))
    return {key: value for key, value in found.items() if key != "defaults"}


def usual(config: Config, key: str) -> Any:
    """Return the value that a key of the strategy has in the strategy's file; the run's own where there is no file."""
    path = group_choices("strategy").get(config.choices.get("strategy", ""))
    values: Any = OmegaConf.to_container(OmegaConf.load(path)) if path else config.strategy
    return values.get(key)


def sweep(overrides: list[str]) -> list[list[str]]:
    """Expand comma-separated values, other than paths, into the overrides of every job.

    Raises:
        UserError: an override cannot be read.
    """
    alternatives = [
        _values(parsed, text) if parsed.is_sweep_override() else [text]
        for text, parsed in zip(overrides, _parse([_literal(text) for text in overrides]), strict=True)
    ]
    return [list(job) for job in itertools.product(*alternatives)]


def _values(parsed: Override, text: str) -> list[str]:
    """Return a sweep's overrides, one for each value."""
    try:
        return [f"{parsed.key_or_group}={value}" for value in parsed.sweep_string_iterator()]
    except HydraException as error:  # glob(*) needs what only Hydra's own command line has
        raise UserError(
            f"{text} is no sweep that can be made here ({error}). Accepted: values with commas between them, "
            "choice(...) or range(...)"
        ) from error


def read_list(text: str) -> list[str]:
    """Read the value of `key=[a,b]`.

    Raises:
        UserError: it is no list of names.
    """
    (override,) = _parse([text])
    value = None if override.is_sweep_override() else override.value()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{text} is no list of names. Accepted: {override.key_or_group}=[a.b,c.d]")
    return [str(item) for item in value]


def compose_config(overrides: list[str], extra: str | None = None) -> Config:
    """Compose one configuration.

    Args:
        overrides: `group=choice` and `key=value`.
        extra: A folder with groups of the user's own.

    Raises:
        UserError: a choice or key does not exist, or a value is not what its key accepts.
    """
    overrides = [_literal(text) for text in overrides]
    for parsed in _parse(overrides):
        _check_override(parsed, extra)
    with _hydra(extra) as searchpath:
        try:
            composed = compose("config", overrides=[*searchpath, *overrides], return_hydra_config=True)
            choices = {group: composed.hydra.runtime.choices[group] for group in ALL_GROUPS}
            if choices["partition"] == "natural" and _chooses_only_data(overrides):
                bare = compose("config", overrides=[*searchpath, "~experiment"], return_hydra_config=True)
                overrides.append(f"partition={bare.hydra.runtime.choices['partition']}")
                composed = compose("config", overrides=[*searchpath, *overrides], return_hydra_config=True)
                choices["partition"] = composed.hydra.runtime.choices["partition"]
            values = _plain(composed)
            for group in {text.partition("=")[0] for text in overrides} & set(GROUPS):
                _drop_foreign_keys(values, group, choices[group], overrides, searchpath, extra)
        except (HydraException, OmegaConfBaseException, ConfigCompositionException) as error:
            raise UserError(_first_lines(error)) from error
    if values["plugins"] and not any(text.startswith("plugins=") for text in overrides):
        raise UserError(f"plugins={values['plugins']} stands in a file. Accepted: on the command line only")
    if values["init"] is not None:  # other processes may stand elsewhere
        values["init"] = str(Path(values["init"]).expanduser().absolute())
    return Config.from_dict(values | {"choices": choices})


def adjust(config: Config, overrides: list[str], extra: str | None = None) -> Config:
    """Return a configuration that was composed before, with overrides on top: choices replace whole groups.

    Raises:
        UserError: as for `compose_config`; an experiment is chosen.
    """
    values = dataclasses.asdict(config)
    try:
        with _hydra(extra) as searchpath:
            for parsed in _parse([_literal(text) for text in overrides]):
                _check_override(parsed, extra)
                key = parsed.key_or_group
                if key == "experiment" or parsed.is_add() or parsed.is_delete():
                    raise UserError(f"{parsed.input_line} is not possible where a run goes on. Accepted: key=value")
                if key in GROUPS:
                    chosen = compose("config", overrides=[*searchpath, "~experiment", f"{key}={parsed.value()}"])
                    values[key] = _plain(chosen)[key]
                    values["choices"][key] = str(parsed.value())
                else:
                    group, dot, name = key.partition(".")
                    inner = values[group] if dot else values
                    *path, last = (name if dot else key).split(".")
                    for part in path:
                        inner = inner.setdefault(part, {})
                    inner[last] = parsed.value()
            typed = OmegaConf.merge(OmegaConf.structured(Config), values)
    except (HydraException, OmegaConfBaseException, ConfigCompositionException) as error:
        raise UserError(_first_lines(error)) from error
    plain = OmegaConf.to_container(typed)
    assert isinstance(plain, dict)
    return Config.from_dict({str(key): value for key, value in plain.items()})


def _chooses_only_data(overrides: list[str]) -> bool:
    """Tell whether a command takes quickstart without its data: whose its samples are, other data need not say."""
    given = {text.partition("=")[0] for text in overrides}
    return "dataset" in given and not given & {"partition", "experiment"}


def _drop_foreign_keys(
    values: dict[str, Any], group: str, choice: str, overrides: list[str], searchpath: list[str], extra: str | None
) -> None:
    """Forget what the experiment says about a choice that the user has replaced: iid knows no alpha."""
    given = {text.partition("=")[0].lstrip("+") for text in overrides}
    own = _keys_of(group, choice, searchpath, extra)
    values[group] = {key: v for key, v in values[group].items() if key in own or f"{group}.{key}" in given}


def _keys_of(group: str, choice: str, searchpath: list[str], extra: str | None) -> set[str]:
    """Return a choice's own keys: those of its file, unless that is composed of others."""
    path = group_choices(group, extra).get(choice)
    text = path.read_text(encoding="utf-8") if path is not None else None
    if text is not None and not re.search(r"^\s*(defaults\s*:|#\s*@package)", text, re.MULTILINE):
        return {str(key) for key in OmegaConf.create(text)}
    bare = compose("config", overrides=[*searchpath, "~experiment", f"{group}={choice}"])
    return set(_plain(bare)[group])


def _plain(composed: DictConfig) -> dict[str, Any]:
    config = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@contextmanager
def _hydra(extra: str | None) -> Iterator[list[str]]:
    schema = OmegaConf.structured(Config)
    OmegaConf.set_readonly(schema, False)  # the dataclass is frozen; its composition is not
    for group in GROUPS:
        OmegaConf.set_struct(schema[group], False)  # `build` knows a group's keys and names the nearest
    ConfigStore.instance().store(name="schema", node=schema)
    searchpath = [f"hydra.searchpath=[{_quoted(f'file://{folder}')}]" for folder in config_folders(extra)[:-1]]
    with initialize_config_dir(str(config_folders()[-1]), version_base="1.3", job_name="fedpers"):
        yield searchpath


def _parse(overrides: list[str]) -> list[Override]:
    for text in overrides:
        if "=" not in text:
            raise UserError(f"{text!r} is no override. Accepted: group=choice or key=value, see --help")
    parser, parsed = OverridesParser.create(), list[Override]()
    for text in overrides:
        try:
            parsed += parser.parse_overrides([text])
        except OverrideParseException as error:
            reason = f"{text} cannot be read ({_first_lines(error)})"
            raise UserError(f"{reason}. Quote values with special characters: 'key=\"value\"'") from error
    return parsed


def _literal(text: str) -> str:
    """Quote a path, most of whose characters Hydra's grammar has no place for; what is quoted already stays."""
    key, equals, value = text.partition("=")
    if not equals or not is_path(key.lstrip("+")) or value == "null" or _QUOTED.fullmatch(value):
        return text
    no_interpolation = re.sub(r"(\\*)\$\{", lambda match: rf"{match[1] * 2}\${{", value)
    return f"{key}={_quoted(no_interpolation)}"


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _check_override(override: Override, extra: str | None) -> None:
    """Raise a UserError for names that Hydra would refuse in its own terms."""
    key = override.key_or_group
    value = override.value() if not override.is_sweep_override() else None
    if override.is_sweep_override():
        raise UserError(f"{override.input_line} names several values. Add --multirun to run each of them")
    if key in ALL_GROUPS:
        known = group_choices(key, extra)
        if str(value) not in known:
            raise unknown_name(key, str(value), known)
        return
    top = key.partition(".")[0]
    keys = {field.name for field in fields(Config)} - {"choices"}
    if top not in keys:
        raise unknown_name("key", key, keys | set(ALL_GROUPS))


def _first_lines(error: Exception) -> str:
    """Return a library's message without what is of use to its own developers only."""
    lines = [line.strip() for line in str(error).splitlines()]
    noise = re.compile(r"^(full_key|object_type|reference_type|See https|Set HYDRA|\[|$)")
    key = next((line.partition(": ")[2] for line in lines if line.startswith("full_key")), "")
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and not key:
        return _first_lines(cause)
    text = ". ".join(line for line in lines if not noise.match(line))
    field = key.partition(".")[0].partition("[")[0]
    hints = typing.get_type_hints(Config)
    accepted = f". Accepted: {described(hints[field])}" if field in hints and field not in GROUPS else ""
    return f"{key}: {text.removesuffix('.')}{accepted}" if key else text


def merged(*parts: Sequence[str]) -> list[str]:
    """Join overrides: later ones replace those of the same key, and a choice replaces the keys of its group."""
    found: dict[str, str] = {}
    for part in parts:
        for text in part:
            key = text.partition("=")[0]
            found = {name: each for name, each in found.items() if name != key and not name.startswith(f"{key}.")}
            found[key] = text
    return list(found.values())
