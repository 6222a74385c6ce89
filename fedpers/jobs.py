"""What one command runs: a job, or each of a sweep; anew, or where it was left."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fedpers import checkpoint, figures, progress, server_app
from fedpers.assembly import check, keeps_state, open_run
from fedpers.config.build import build
from fedpers.config.compose import adjust, compose_config, sweep
from fedpers.config.keys import Config
from fedpers.errors import FederationError, UserError, writing
from fedpers.results import Run
from fedpers.results.writer import RunWriter, check_run_directory, run_directory, write_json
from fedpers.resume import Standing

SWEEP = "sweep.json"
"""What a sweep leaves in its folder: every job's configuration, so that it can go on."""


@dataclass(frozen=True)
class Job:
    """One run of a command.

    Args:
        name: What it is called; a single job is called by its experiment.
        config: Its configuration, `out` included.
        standing: Where it stands, if it goes on.
    """

    name: str
    config: Config
    standing: Standing | None = None

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(str(self.config.out))

    @property
    def title(self) -> str:
        """What the progress bar calls it."""
        experiment, strategy = (self.config.choices.get(group, "run") for group in ("experiment", "strategy"))
        return self.name if self.name != experiment else f"{self.name} ({strategy})"

    @property
    def is_done(self) -> bool:
        """Whether it has ended, so that there is nothing to go on with."""
        return self.standing is not None and self.standing.is_done(self.config)

    def check(self) -> None:
        """Raise a UserError when the job is impossible; nothing has been written yet."""
        if not self.standing:
            check_run_directory(self.folder)
        config, shards = open_run(self.config.to_json())
        check(config, shards)
        if self.standing and not self.is_done:
            if not keeps_state(config):
                raise UserError(
                    f"{self.folder} cannot go on with engine={config.choices.get('engine')}, whose clients keep their "
                    "memory to themselves. Accepted: engine=local or engine=ray"
                )
            self.standing.differences(config, shards)

    def run(self, reporter: progress.Reporter) -> None:
        """Run it to its end, or on to it.

        Args:
            reporter: Is told of every round.

        Raises:
            UserError: something is impossible.
            FederationError: the federation cannot go on.
        """
        config = self.config
        engine = build(config.engine, "engine", plugins=config.plugins)
        _, shards = open_run(config.to_json())
        differences = self.standing.differences(config, shards) if self.standing else []
        snapshot = checkpoint.read(self.folder) if self.standing else None
        after = (snapshot.round if snapshot else 0) if self.standing else None
        if after is not None:
            reporter.goes_on(after)

        def serve(grid: Any) -> None:
            writer = RunWriter(self.folder, goes_on_after=after, differences=differences)
            server_app.serve(grid, config, shards, writer, reporter, goes_on_from=snapshot)

        engine.run(config, shards, serve, reporter)

    def report(self) -> None:
        """Draw its figures, and print its table and the paths of what was written."""
        figures.draw([Run(self.folder)], self.folder / "figures", self.config.figures, self.config.plugins)
        run, console = Run(self.folder), progress.printer()
        title = f"{self.title}: test accuracy over {run.data['num_clients']} clients"
        console.print(progress.result_table(run.summary, title))
        if others := progress.metric_table(run.summary):
            console.print(others)
        progress.print_paths(console, progress.listing(self.folder))


def plan(words: list[str], multirun: bool, config_dir: str | None) -> list[Job]:
    """Compose every job of a command.

    Raises:
        UserError: any of them is impossible.
    """
    own = {key: value for key, _, value in (word.partition("=") for word in words) if key in ("resume", "resume_force")}
    overrides = [word for word in words if word.partition("=")[0] not in own]
    if "resume" in own:
        return _resumed(Path(own["resume"]), overrides, config_dir, _is_true("resume_force", own))
    if "resume_force" in own:
        raise UserError(f"resume_force={own['resume_force']} is of use with resume=RUN only")
    start, jobs = datetime.now(), []
    for job in sweep(overrides) if multirun else [overrides]:
        config = compose_config(job, config_dir)
        experiment = config.choices["experiment"]
        folder = run_directory(config, start)
        name = ",".join(text for text in job if text not in overrides) if multirun else experiment
        name = name or experiment
        if multirun:
            folder = folder / name.replace("/", "-")
        jobs.append(Job(name, dataclasses.replace(config, out=str(folder))))
    return list({job.name: job for job in jobs}.values())


def _is_true(key: str, values: dict[str, str]) -> bool:
    text = values.get(key, "false").lower()
    if text not in ("true", "false"):
        raise UserError(f"{key}={values[key]} is not possible. Accepted: true or false")
    return text == "true"


def _resumed(folder: Path, overrides: list[str], config_dir: str | None, force: bool) -> list[Job]:
    """Return the jobs of a run directory or of a sweep's folder, each of which goes on where it was left."""
    listing = folder / SWEEP
    if listing.is_file():
        try:
            saved = {name: Config.from_dict(values) for name, values in json.loads(listing.read_text()).items()}
        except (ValueError, AttributeError) as error:
            raise UserError(f"{listing} is damaged ({error})") from error
    else:
        config = Run(folder).config
        saved = {config.choices.get("experiment", "run"): dataclasses.replace(config, out=str(folder))}
    jobs = []
    for name, config in saved.items():
        if config.plugins and not any(text.startswith("plugins=") for text in overrides):
            raise UserError(
                f"{folder} was run with plugins={config.plugins}, whose code would be run. Accepted: the same on the "
                "command line"
            )
        own = folder / Path(str(config.out)).name if listing.is_file() else folder
        adjusted = dataclasses.replace(adjust(config, overrides, config_dir), out=str(own))
        jobs.append(Job(name, adjusted, Standing(own, force) if own.exists() else None))
    return jobs


def run_all(jobs: Sequence[Job]) -> dict[str, str]:
    """Check all jobs, run one after the other, and compare them; return what went wrong, by name.

    Raises:
        UserError: one of them is impossible, or the only one fails.
        FederationError: the only one fails.
    """
    for job in jobs:
        job.check()
    if len(jobs) == 1:
        _run(jobs[0])
        return {}
    folder, failures, done = jobs[0].folder.parent, dict[str, str](), list[Job]()
    with writing(f"the sweep's folder {folder}", "Name another one with out=DIR"):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / SWEEP, {job.name: dataclasses.asdict(job.config) for job in jobs})
    for job in jobs:
        try:
            _run(job)
            done.append(job)
        except (UserError, FederationError) as error:
            failures[job.name] = str(error)
            progress.printer(stderr=True).print(f"failed: {job.name}: {error}", markup=False, soft_wrap=True)
    if done:
        console, first = progress.printer(), done[0].config
        console.print(progress.comparison_table({job.name: Run(job.folder).summary for job in done}))
        runs = [Run(job.folder) for job in done]
        progress.print_paths(console, figures.draw(runs, folder, first.figures, first.plugins))
    return failures


def _run(job: Job) -> None:
    logging.getLogger("flwr").setLevel(logging.DEBUG if job.config.debug else logging.ERROR)
    if job.config.debug:
        logging.basicConfig(level=logging.DEBUG)
    if job.is_done:
        progress.printer(stderr=True).print(f"{job.title}: has ended already, {job.folder}", markup=False)
    else:
        with progress.Display(job.title, job.config.rounds, quiet=job.config.quiet) as display:
            job.run(display)
    job.report()
