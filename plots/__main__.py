"""Draw all figures over finished runs: `python -m plots RUN [RUN ...] [--out DIR]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fedpers.errors import UserError
from fedpers.results import Run, find_runs
from plots import client_accuracy, convergence, label_distribution, layer_dropping

OK, USAGE = 0, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 2 for a user's mistake."""
    options = _parse(arguments)
    try:
        runs = [run for path in options.runs for run in find_runs(path)]
        for path in draw_all(runs, options.out or default_folder(runs)):
            sys.stdout.write(f"{path}\n")
    except UserError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return USAGE
    return OK


def draw_all(runs: list[Run], folder: Path) -> list[Path]:
    """Draw every figure and return the files written."""
    modules = (convergence, client_accuracy, label_distribution, layer_dropping)
    return [path for module in modules for path in module.draw(runs, folder)]


def default_folder(runs: list[Run]) -> Path:
    """Return the run's own figures folder, or `figures` in the current directory for several runs."""
    return runs[0].folder / "figures" if len(runs) == 1 else Path("figures")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m plots", description="Draw figures over finished runs.")
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run directory, or a folder of them; runs that differ in their seed only become one curve",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where figures go; default: figures/ in the run directory of a single run, else figures/ here",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
