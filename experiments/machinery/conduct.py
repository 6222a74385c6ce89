"""Conducting a study, from its first run to its page."""

import sys

from experiments.machinery import kept, pages
from experiments.machinery.jobs import Tally, Workshop, listing
from experiments.machinery.plan import REFERENCE, Plan, choose, distinct, outcomes
from experiments.machinery.study import Options, Study
from fedpers.locks import held
from fedpers.progress import printer


def conduct(study: Study, options: Options) -> int:
    """Run a study, write its files and return the number of runs that failed.

    Raises:
        UserError: a configuration is impossible, a folder cannot be written, or kept rows do not come out again.
    """
    scale = study.scales[options.scale]
    plan = Plan(scale, options.overrides, options.runs, options.config_dir)
    old = kept.NOTHING
    if options.only:
        others = [pair for pair in plan.bases if pair[1].name not in options.only]
        old = kept.read(options.folder, study.name, others)
        plan.restrict([p for p in plan.bases if p not in others or p in old.rows or p[1].name == REFERENCE])
    plan.check()
    with held(options.runs, "the study's folder"), Tally(f"{study.name} ({options.scale})", options.jobs) as tally:
        workshop = Workshop(options.runs, options.jobs, tally, reuse=options.reuse)
        trials = plan.trials(old.rows)
        tried = distinct(job for settings in trials.values() for jobs in settings.values() for job in jobs)
        tally.expect(len(tried) + len(plan.bases) * len(scale.seeds))
        failures = workshop.make(tried)
        choices = {**old.choices, **choose(trials)}
        reported = {pair: jobs for pair, jobs in plan.reported(choices).items() if pair not in old.rows}
        again = {pair: plan.jobs(pair, choices, seeds) for pair, seeds in old.checks().items()}
        made = reported | again
        jobs = distinct(job for by_seed in made.values() for job in by_seed.values())
        tally.expect(len(tried) + len(jobs))
        failures |= workshop.make(jobs)
    new = {(row.condition, row.arm): row for row in outcomes(made, choices)}
    old.compare(list(new.values()))
    found = [old.rows.get(pair) or new[pair] for pair in plan.bases]
    choices = {pair: choices[pair] for pair in plan.bases if pair in choices}
    written = pages.write(study, scale, options, found, choices, failures, workshop.kept)
    printer().print(pages.terminal_table(study, found))
    sys.stdout.write("Written:\n" + "".join(f"  {path}\n" for path in written))
    if workshop.kept:
        sys.stderr.write(f"{pages.REUSED}: {listing(workshop.kept)}\n")
    for name, error in failures.items():
        sys.stderr.write(f"failed: {name}: {error}\n")
    return len(failures)
