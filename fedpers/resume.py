"""A run that goes on: where it stands, and whether what it would go on with is what it was begun with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpers import checkpoint
from fedpers.assembly import build_algorithm, build_recipe
from fedpers.config.identity import identity
from fedpers.config.keys import Config
from fedpers.data.shards import Shards
from fedpers.errors import UserError
from fedpers.models.initial import weights_sha256
from fedpers.provenance import run_sha256
from fedpers.results import Run
from fedpers.results.reading import read_object

HASHES = {
    "dataset_sha256": "the dataset's files",
    "assignment_sha256": "who holds which sample",
    "init_sha256": "the weights that it starts from",
    "code_sha256": "the code",
}


@dataclass(frozen=True)
class Standing:
    """Where a run stands that is to go on.

    Args:
        folder: The run directory.
        force: Go on although something differs.
    """

    folder: Path
    force: bool = False

    @property
    def round(self) -> int:
        """The round of the last checkpoint, 0 if there is none: such a run starts over."""
        return checkpoint.last_round(self.folder)

    def is_done(self, config: Config) -> bool:
        """Tell whether nothing is left to do: the run has ended, and no more rounds are asked for."""
        return (self.folder / "summary.json").is_file() and config.rounds == Run(self.folder).config.rounds

    def differences(self, config: Config, shards: Shards) -> list[str]:
        """Return what would make the rounds to come another run's than those that there are, in words.

        Raises:
            UserError: there are more rounds than are asked for, or what differs is not accepted.
        """
        run, found = Run(self.folder), self.other_keys(config)
        if config.rounds < self.round:
            raise UserError(
                f"rounds={config.rounds} is not possible: {self.folder} has {self.round} rounds already. "
                "Accepted: that many or more"
            )
        if config.rounds != run.config.rounds:
            schedule = build_recipe(run.config).schedule
            falls = f"schedule={run.config.choices.get('schedule')} depends on how many there are"
            reasons = [
                build_algorithm(run.config).bound_to_rounds(run.config),
                falls if schedule and schedule.is_bound_to_rounds else "",
            ]
            if why := " and ".join(filter(None, reasons)):
                found.append(f"rounds was {run.config.rounds} and is {config.rounds}, and {why}")
        now = {
            "dataset_sha256": shards.manifest["dataset_sha256"],
            "assignment_sha256": shards.manifest["assignment_sha256"],
            "init_sha256": weights_sha256(config.init),
            "code_sha256": run_sha256(config),
        }
        then = _read_manifest(self.folder)
        found += [
            f"{what} differ{'s' * (key == 'code_sha256')}"
            for key, what in HASHES.items()
            if then.get(key, now[key]) != now[key]
        ]
        if found and self.round and not self.force:
            raise self.refusal(found)
        return found

    def other_keys(self, config: Config) -> list[str]:
        """Return the keys that change results, but for rounds, whose values are not those of the run, in words."""
        return [
            f"{key} was {_short(then)} and is {_short(now)}"
            for key, then, now in _differing(identity(Run(self.folder).config), identity(config))
            if key != "rounds"
        ]

    def refusal(self, found: Sequence[str]) -> UserError:
        """Build the error for what differs."""
        return UserError(
            f"{self.folder} cannot go on as the run that it is: {'; '.join(found)}. Accepted: the same, or "
            "resume_force=true, and its manifest will say what differs"
        )


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return what a run's manifest says, of the last time that it was started."""
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    found = read_object(path, "the run was never begun", ("seed",))
    last: dict[str, Any] = found | (found.get("resumed") or [{}])[-1]
    return last


def _differing(then: Any, now: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Return the keys, joined by dots, whose plain values differ, and both values."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        names = [name for name in {**then, **now} if then.get(name, ABSENT) != now.get(name, ABSENT)]
        return [
            found
            for name in names
            for found in _differing(then.get(name, ABSENT), now.get(name, ABSENT), f"{key}.{name}" if key else name)
        ]
    return [(key.removesuffix("._target_"), then, now)] if then != now else []


ABSENT = "absent"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
