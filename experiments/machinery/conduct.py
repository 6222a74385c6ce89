"""Conducting a study, from its first run to its page."""

import sys

from experiments.machinery import pages
from experiments.machinery.jobs import Tally, Workshop, listing
from experiments.machinery.plan import Plan, choose, distinct, outcomes
from experiments.machinery.study import Options, Study
from fedpers.progress import printer


def conduct(study: Study, options: Options) -> int:
    """Run a study, write its files and return the number of runs that failed.

    Raises:
        UserError: a configuration is impossible, or a folder cannot be written.
    """
    scale = study.scales[options.scale]
    plan = Plan(scale, options.overrides, options.runs, options.config_dir)
    plan.check()
    with Tally(f"{study.name} ({options.scale})", options.jobs) as tally:
        workshop = Workshop(options.runs, options.jobs, tally, reuse=options.reuse)
        trials = plan.trials()
        tried = distinct(job for settings in trials.values() for jobs in settings.values() for job in jobs)
        tally.expect(len(tried) + len(plan.bases) * len(scale.seeds))
        failures = workshop.make(tried)
        choices = choose(trials)
        reported = plan.reported(choices)
        jobs = distinct(job for by_seed in reported.values() for job in by_seed.values())
        tally.expect(len(tried) + len(jobs))
        failures |= workshop.make(jobs)
    found = outcomes(reported, choices)
    written = pages.write(study, scale, options, found, choices, failures, workshop.kept)
    printer().print(pages.terminal_table(study, found))
    sys.stdout.write("Written:\n" + "".join(f"  {path}\n" for path in written))
    if workshop.kept:
        sys.stderr.write(f"{pages.REUSED}: {listing(workshop.kept)}\n")
    for name, error in failures.items():
        sys.stderr.write(f"failed: {name}: {error}\n")
    return len(failures)
