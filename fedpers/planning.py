"""From a command's words to its jobs: one run, each of a sweep, or what goes on where it was left."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from fedpers import progress
from fedpers.config.compose import adjust, compose_config, sweep
from fedpers.errors import UserError
from fedpers.jobs import Job
from fedpers.results import Run
from fedpers.results.sweeps import Member, read_listing
from fedpers.results.writer import run_directory
from fedpers.resume import Standing

OWN = ("resume", "resume_force", "jobs")
"""Words that are no part of a configuration."""


class Plan(NamedTuple):
    """What a command runs.

    Args:
        jobs: The jobs.
        num_workers: Jobs at the same time.
        is_sweep: Whether they belong together.
    """

    jobs: list[Job]
    num_workers: int
    is_sweep: bool


def plan(words: list[str], multirun: bool, config_dir: str | None) -> Plan:
    """Compose every job of a command.

    Raises:
        UserError: any of them is impossible.
    """
    own = {key: value for key, _, value in (word.partition("=") for word in words) if key in OWN}
    overrides = [word for word in words if word.partition("=")[0] not in own]
    num_workers = _whole("jobs", own)
    if "resume" in own:
        return _resumed(Path(own["resume"]), overrides, config_dir, _is_true("resume_force", own), num_workers)
    if "resume_force" in own:
        raise UserError(f"resume_force={own['resume_force']} is of use with resume=RUN only")
    if "jobs" in own and not multirun:
        raise UserError(f"jobs={own['jobs']} is of use with --multirun only, or with resume=FOLDER of a sweep")
    start, jobs = datetime.now(), dict[str, Job]()
    for words_of_job in sweep(overrides) if multirun else [overrides]:
        job = _composed(words_of_job, overrides, config_dir, start, multirun=multirun)
        if job.name in jobs:
            progress.printer(stderr=True).print(f"{job.name} is named twice: it is one run", markup=False)
        jobs[job.name] = job
    return Plan(list(jobs.values()), num_workers, multirun)


def _composed(words: list[str], common: list[str], config_dir: str | None, start: datetime, *, multirun: bool) -> Job:
    """Return a new job; what tells it from the others of a sweep are the words that they have not in common."""
    config = compose_config(words, config_dir)
    folder, experiment = run_directory(config, start), config.choices["experiment"]
    own = [text for text in words if text not in common] if multirun else []
    name = ",".join(own) or experiment
    if multirun:
        folder = folder / name.replace("/", "-")
    swept = {key: value for key, _, value in (text.partition("=") for text in own)}
    return Job(name, dataclasses.replace(config, out=str(folder)), None, swept, config.out is None)


def _resumed(folder: Path, overrides: list[str], config_dir: str | None, force: bool, num_workers: int) -> Plan:
    """Return the jobs of a run directory or of a sweep's folder, each of which goes on where it was left."""
    members = read_listing(folder)
    saved: Mapping[str, Member] = members or {}
    if members is None:
        config = Run(folder).config
        saved = {config.choices.get("experiment", "run"): Member(config, {})}
    jobs = []
    for name, member in saved.items():
        if member.config.plugins and not any(text.startswith("plugins=") for text in overrides):
            raise UserError(
                f"{folder} was run with plugins={member.config.plugins}, whose code would be run. Accepted: the same "
                "on the command line"
            )
        own = folder if members is None else folder / Path(str(member.config.out)).name
        config = dataclasses.replace(adjust(member.config, overrides, config_dir), out=str(own))
        standing = Standing(own, force) if (own / "config.json").is_file() else None
        jobs.append(Job(name, config, standing, member.swept))
    return Plan(jobs, num_workers, members is not None)


def _is_true(key: str, values: Mapping[str, str]) -> bool:
    text = values.get(key, "false").lower()
    if text not in ("true", "false"):
        raise UserError(f"{key}={values[key]} is not possible. Accepted: true or false")
    return text == "true"


def _whole(key: str, values: Mapping[str, str]) -> int:
    text = values.get(key, "1")
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{key}={text} is not possible. Accepted: a whole number of at least 1")
    return int(text)
