"""What a sweep leaves in its folder: its jobs, so that it can go on and its runs say what was swept."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.results.reading import read_object
from fedpers.results.writer import write_json

LISTING = "sweep.json"


@dataclass(frozen=True)
class Member:
    """One job of a sweep.

    Args:
        config: Its configuration.
        swept: The swept keys and its values of them.
    """

    config: Config
    swept: Mapping[str, str]


def write_listing(folder: Path, members: Mapping[str, Member]) -> None:
    """Write which jobs a sweep has, so that it can go on."""
    jobs = {name: {"swept": dict(each.swept), "config": vars(each.config)} for name, each in members.items()}
    write_json(folder / LISTING, {"jobs": jobs})


def read_listing(folder: Path) -> dict[str, Member] | None:
    """Return the jobs of a sweep by name; None where the folder is none's.

    Raises:
        UserError: what is written there is damaged.
    """
    path = folder / LISTING
    if not path.is_file():
        return None
    try:
        jobs = read_object(path, "the folder is no sweep's", ("jobs",))["jobs"]
        return {name: Member(Config.from_dict(each["config"]), each["swept"]) for name, each in jobs.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error})") from error
