"""All jobs of a command, from the first check to the comparison."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedpers import figures, progress
from fedpers.errors import FederationError, UserError, writing
from fedpers.jobs import Job, claimed
from fedpers.locks import held
from fedpers.planning import Plan
from fedpers.pool import DIED, side_by_side
from fedpers.results import Run
from fedpers.results.sweeps import Member, write_listing
from fedpers.sweep import by_setting, terminal_table, write_tables


def conduct(plan: Plan) -> dict[str, str]:
    """Check all jobs, run them, and compare those of a sweep; return what went wrong, by name.

    Raises:
        UserError: one of them is impossible, or a single job fails.
        FederationError: a single job fails.
    """
    for job in plan.jobs:
        job.check()
    jobs = claimed(plan.jobs, plan.is_sweep)
    if not plan.is_sweep:
        with _gone_if_empty(jobs[0].folder):
            _run(jobs[0])
        return {}
    folder, members = jobs[0].folder.parent, {job.name: Member(job.config, job.swept) for job in jobs}
    with _gone_if_empty(folder), held(folder, "the sweep's folder"):
        with writing(f"the sweep's folder {folder}", "Make room, or name another one with out=DIR"):
            write_listing(folder, members)
        failures = dict(_results(jobs, min(plan.num_workers, len(jobs))))
        done = [job for job in jobs if not failures[job.name]]
        if done:
            _compare(folder, done, members)
    return {name: error for name, error in failures.items() if error}


@contextlib.contextmanager
def _gone_if_empty(folder: Path) -> Iterator[None]:
    """Leave no empty folder behind where nothing came of a command."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def _results(jobs: Sequence[Job], num_workers: int) -> Iterator[tuple[str, str]]:
    """Run jobs, report each as it ends, and yield its name and what went wrong, if anything."""
    for job, error in _one_by_one(jobs) if num_workers == 1 else _side_by_side(jobs, num_workers):
        if error:
            progress.printer(stderr=True).print(f"failed: {job.name}: {error}", markup=False, soft_wrap=True)
        yield job.name, error


def _one_by_one(jobs: Sequence[Job]) -> Iterator[tuple[Job, str]]:
    for job in jobs:
        try:
            _run(job)
        except (UserError, FederationError) as error:
            yield job, str(error)
        else:
            yield job, ""


def _side_by_side(jobs: Sequence[Job], num_workers: int) -> Iterator[tuple[Job, str]]:
    for job in jobs:
        if job.is_done:
            _run(job)
            yield job, ""
    for job, error in side_by_side(_work, [job for job in jobs if not job.is_done], num_workers):
        if error == "":
            job.report()
        yield job, DIED if error is None else error


def _work(job: Job) -> str:
    """Run one job in a process of its own, and return what went wrong, if anything."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        job.run(progress.Silent())
    except (UserError, FederationError) as error:
        return str(error)
    return ""


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


def _compare(folder: Path, jobs: Sequence[Job], members: dict[str, Member]) -> None:
    runs = {job.name: run for job in jobs if (run := Run(job.folder)).summary["last"]}
    console = progress.printer()
    if not runs:
        console.print("no round of any job was scored (eval_every=0)", markup=False)
        return
    console.print(progress.comparison_table({name: run.summary for name, run in runs.items()}))
    rows = by_setting(runs, members)
    console.print(terminal_table(rows))
    with writing(f"the sweep's folder {folder}", "Make room"):
        written = write_tables(folder, rows)
    first = jobs[0].config
    progress.print_paths(console, [*written, *figures.draw(list(runs.values()), folder, first.figures, first.plugins)])
