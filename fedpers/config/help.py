"""What `--help` prints: every group's choices and every key with its meaning, read from where they are defined."""

import re
from dataclasses import fields
from pathlib import Path

from fedpers.config.compose import ALL_GROUPS, group_choices, own_values
from fedpers.config.keys import GROUPS, Config
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
  --help, -h          this text

resume=RUN goes on with the run's own configuration; rounds=N asks for more rounds. What would make the rounds to come
another run's is named and refused, unless resume_force=true.

Paths (out, cache, dataset.root, ...) are taken as the shell delivers them, whatever characters they have. Other values
are read by Hydra: quote special characters, 'key="value"'.
"""

_KEY = re.compile(r"^(?P<key>\w+):\s*(?P<default>.*?)\s*#\s*(?P<meaning>.+)$")


def help_text(extra: str | None = None) -> str:
    """Return the whole text."""
    lines, own = [USAGE, "Keys"], own_values()
    for field in fields(Config):
        if field.name not in GROUPS and field.name != "choices":
            default = field.default_factory() if callable(field.default_factory) else field.default
            default = own.get(field.name, default)
            lines.append(_entry(field.name, _yaml(default), field.metadata["meaning"]))
    lines += ["", "Metrics", f"  {', '.join(ALWAYS):<24} measured in every run"]
    lines += [f"  {name:<24} {(function.__doc__ or '').splitlines()[0]}" for name, function in OURS.items()]
    for group in ALL_GROUPS:
        lines += ["", f"Group {group}"]
        for name, path in group_choices(group, extra).items():
            lines.append(f"  {group}={name}: {describe(path)}")
            lines += [_entry(f"  {group}.{key}", default, text) for key, default, text in keys(path)]
    return "\n".join(lines)


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
