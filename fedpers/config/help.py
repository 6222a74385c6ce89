"""What `--help` prints: every group's choices and every key with its meaning, read from where they are defined."""

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from fedpers.config.compose import ALL_GROUPS, group_choices, own_values
from fedpers.config.keys import GROUPS, Config
from fedpers.errors import unknown_name
from fedpers.rows import ALWAYS
from fedpers.scoring import OURS

USAGE = """\
Simulate personalized federated learning.

  python -m fedpers.run [group=choice] [key=value] ...
  python -m fedpers.run --multirun group=choice,choice key=value,value ...   every combination, then a comparison
  python -m fedpers.run resume=RUN [key=value] ...         go on with a run, or a sweep, where it was left
  python -m plots RUN [RUN ...] [figures=[...]] [plugins=[...]]             figures over finished runs

Options
  --multirun, -m      run every combination of comma-separated values; jobs=N runs N of them at the same time
  --config-dir DIR    a folder with groups of your own (DIR/strategy/mine.yaml)
  --help, -h          this text; --help strategy, fedd2s, strategy.vote or lr: that alone

resume=RUN goes on with the run's own configuration; rounds=N asks for more rounds. What would make the rounds to come
another run's is named and refused, unless resume_force=true.

Paths (out, cache, dataset.root, ...) are taken as the shell delivers them, whatever characters they have. Other values
are read by Hydra: quote special characters, 'key="value"'.
"""

_KEY = re.compile(r"^(?P<key>\w+):\s*(?P<default>.*?)\s*#\s*(?P<meaning>.+)$")


def help_text(extra: str | None = None) -> str:
    """Return the whole text."""
    lines = [USAGE, "Keys", *_top_keys(), "", "Metrics", f"  {', '.join(ALWAYS):<24} measured in every run"]
    lines += [f"  {name:<24} {(function.__doc__ or '').splitlines()[0]}" for name, function in OURS.items()]
    for group in ALL_GROUPS:
        lines += ["", *_group(group, extra)]
    return "\n".join(lines)


def help_about(topics: Iterable[str], extra: str | None = None) -> str:
    """Return the part of the text that is about a group, one of its choices, or a key.

    Args:
        topics: `strategy`, `strategy=fedd2s`, `fedd2s`, `strategy.vote` or `lr`.
        extra: A folder with groups of the user's own.

    Raises:
        UserError: there is no such thing.
    """
    return "\n\n".join("\n".join(_about(topic, extra)) for topic in topics)


def _about(topic: str, extra: str | None) -> list[str]:
    keys_of_all = {line.strip().partition("=")[0]: line for line in _top_keys()}
    choices = {group: group_choices(group, extra) for group in ALL_GROUPS}
    group, equals, choice = topic.partition("=")
    if group in choices and not equals:
        return _group(group, extra)
    if group in choices:
        if choice not in choices[group]:
            raise unknown_name(group, choice, choices[group])
        return _choice(group, choice, choices[group][choice])
    if topic in keys_of_all:
        return [keys_of_all[topic]]
    group, _, key = topic.partition(".")
    if group in choices and key:
        having = {name: path for name, path in choices[group].items() if any(each[0] == key for each in keys(path))}
        if not having:
            known = {each[0] for path in choices[group].values() for each in keys(path)}
            raise unknown_name(f"key of group {group}", key, known)
        return [line for name, path in having.items() for line in _choice(group, name, path, only=key)]
    found = [_choice(group, topic, paths[topic]) for group, paths in choices.items() if topic in paths]
    if not found:
        known = {*choices, *keys_of_all, *(name for paths in choices.values() for name in paths)}
        raise unknown_name("group, choice or key", topic, known)
    return [line for lines in found for line in lines]


def _top_keys() -> list[str]:
    """Return a line for each key outside the groups."""
    own, lines = own_values(), []
    for field in fields(Config):
        if field.name not in GROUPS and field.name != "choices":
            default = field.default_factory() if callable(field.default_factory) else field.default
            lines.append(_entry(field.name, _yaml(own.get(field.name, default)), field.metadata["meaning"]))
    return lines


def _group(group: str, extra: str | None) -> list[str]:
    choices = group_choices(group, extra).items()
    return [f"Group {group}", *(line for name, path in choices for line in _choice(group, name, path))]


def _choice(group: str, name: str, path: Path, only: str = "") -> list[str]:
    """Return what a choice is, and its keys, or only one of them."""
    entries = [each for each in keys(path) if only in ("", each[0])]
    return [f"  {group}={name}: {describe(path)}", *(_entry(f"  {group}.{k}", *rest) for k, *rest in entries)]


def describe(path: Path) -> str:
    """Return what a choice is: the comment in the first line of its YAML file that is no command."""
    comments = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    return next((line for line in comments if not line.startswith(("python ", "@package"))), "")


def keys(path: Path) -> list[tuple[str, str, str]]:
    """Return a group choice's keys: name, default, meaning."""
    if path.parent.name == "experiment":
        return []
    matches = (_KEY.match(line) for line in path.read_text().splitlines())
    return [(m["key"], m["default"], m["meaning"]) for m in matches if m]


def _entry(key: str, default: str, meaning: str) -> str:
    return f"  {f'{key}={default}':<44} {meaning}"


def _yaml(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).replace(" ", "").replace("'", "")
