"""The command line: `python -m fedpers.run [group=choice] [key=value] ...`; `--help` lists them all."""

import argparse
import dataclasses
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

# Flower reports usage unless told not to; fedpers talks to nobody
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

from fedpers import siblings
from fedpers.arguments import parser
from fedpers.config.keys import Config
from fedpers.errors import FederationError, UserError

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 2 for a user's mistake, 1 for a failed run."""
    options = _parse(arguments)
    debug = [text for text in options.words if text.startswith("debug=")][-1:] in (
        ["debug=true"],
        ["debug=True"],
    )
    try:
        if options.help:
            from fedpers.config.help import help_text

            sys.stdout.write(help_text(options.config_dir) + "\n")
            return OK
        jobs = plan(options.words, options.multirun, options.config_dir)
        return _run_all(jobs)
    except UserError as error:
        return _fail(str(error), USAGE, debug)
    except FederationError as error:
        return _fail(str(error), FAILED, debug)
    except KeyboardInterrupt:
        return _fail("stopped; the results of finished rounds are kept", INTERRUPTED, debug)
    except Exception as error:  # a bug, which is not the user's to read as a traceback
        text = f"{type(error).__name__}: {error}. This looks like a bug in fedpers; add debug=true for the traceback"
        return _fail(text, FAILED, debug)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("fedpers.run")
    made.add_argument("--multirun", "-m", action="store_true")
    return made.parse_intermixed_args(arguments)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"error: {message}\n")
    return code


def plan(overrides: list[str], multirun: bool, config_dir: str | None) -> dict[str, Config]:
    """Compose and check every job before the first one starts.

    Returns:
        Configurations with their run directory, by job name; a single job is called by its experiment.

    Raises:
        UserError: any of them is impossible.
    """
    from fedpers.config.compose import compose_config, sweep
    from fedpers.results.writer import run_directory

    start = datetime.now()
    jobs: dict[str, Config] = {}
    for job in sweep(overrides) if multirun else [overrides]:
        config = compose_config(job, config_dir)
        experiment = config.choices["experiment"]
        folder = run_directory(config, start)
        name = ",".join(text for text in job if text not in overrides) if multirun else experiment
        name = name or experiment
        if multirun:
            folder = folder / name.replace("/", "-")
        jobs[name] = dataclasses.replace(config, out=str(folder))
    return jobs


def _run_all(jobs: dict[str, Config]) -> int:
    from fedpers import figures, progress
    from fedpers.assembly import check, open_run
    from fedpers.results import Run
    from fedpers.results.writer import check_run_directory

    for config in jobs.values():
        check_run_directory(Path(str(config.out)))
        check(*open_run(config.to_json()))
    summaries: dict[str, dict[str, Any]] = {}
    console = progress.printer()
    for name, config in jobs.items():
        summaries[name] = run_job(name, config)
    if len(jobs) > 1:
        first = next(iter(jobs.values()))
        runs = [Run(str(config.out)) for config in jobs.values()]
        console.print(progress.comparison_table(summaries))
        _print_paths(console, figures.draw(runs, Path(str(first.out)).parent, first.figures, first.plugins))
    return OK


def run_job(name: str, config: Config) -> dict[str, Any]:
    """Run one job, print its table and the paths of what was written, and return its summary."""
    from fedpers import figures, progress, server_app
    from fedpers.assembly import open_run
    from fedpers.config.build import build
    from fedpers.results import Run
    from fedpers.results.writer import RunWriter

    logging.getLogger("flwr").setLevel(logging.DEBUG if config.debug else logging.ERROR)
    if config.debug:
        logging.basicConfig(level=logging.DEBUG)
    engine = build(config.engine, "engine", plugins=config.plugins)
    _, shards = open_run(config.to_json())
    folder = Path(str(config.out))
    title = name if name != config.choices["experiment"] else f"{name} ({config.choices['strategy']})"
    with progress.Display(title, config.rounds, quiet=config.quiet) as display:
        engine.run(
            config,
            shards,
            lambda grid: server_app.serve(grid, config, shards, RunWriter(folder), display),
            display,
        )
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    figures.draw([Run(folder)], folder / "figures", config.figures, config.plugins)
    console = progress.printer()
    console.print(progress.result_table(summary, f"{title}: test accuracy over {shards.num_clients} clients"))
    if others := progress.metric_table(summary):
        console.print(others)
    _print_paths(console, progress.listing(folder))
    return summary


def start_worker() -> None:
    """Prepare a process that makes runs for another one, which ends it: Ctrl-C is left to that one."""
    siblings.claim()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _print_paths(console: Console, paths: list[Path]) -> None:
    console.print("Written:")
    for path in paths:
        console.print(f"  {path}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
