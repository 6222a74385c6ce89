"""Draw figures over finished runs: `python -m plots RUN [RUN ...] [figures=[...]] [plugins=[...]] [--out DIR]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fedpers import figures
from fedpers.config.compose import read_list
from fedpers.endings import command
from fedpers.errors import UserError
from fedpers.results import Run, find_runs

OK, FAILED, USAGE = 0, 1, 2

DESCRIPTION = """\
Draw figures over finished runs: those that the runs' own key `figures` lists, or fedpers' own where it lists none."""

EPILOG = """\
keys:
  figures=[NAME,...]  functions that draw, instead of those that the runs list
  plugins=[NAME,...]  modules of your own that figures may lie in. A run's directory cannot name them: what is imported
                      stands on the command line

`python -m fedpers plots` does the same where the current directory has a plots.py or a package plots of yours.
Exit code 1: a figure was left out that needs plugins=[...]; 2: nothing was drawn."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 1 if a figure was left out, 2 for a user's mistake."""
    options = _parse(arguments)
    try:
        given = {word.partition("=")[0]: read_list(word) for word in options.words if _is_key(word)}
        runs = [run for word in options.words if not _is_key(word) for run in find_runs(word)]
        if not runs:
            raise UserError("no RUN is named. Accepted: run directories, or folders of them; see --help")
        plugins = given.get("plugins", [])
        chosen = given.get("figures", figures.listed(runs))
        absent = {figure: module for figure in chosen if (module := figures.missing_plugin(figure, plugins))}
        allowed = [figure for figure in chosen if figure not in absent]
        for path in figures.draw(runs, options.out or default_folder(runs), allowed, plugins):
            sys.stdout.write(f"{path}\n")
    except UserError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return USAGE
    for figure, module in absent.items():
        sys.stderr.write(f"error: {figure} was not drawn: it needs plugins=[{module}] on the command line\n")
    return FAILED if absent else OK


def default_folder(runs: list[Run]) -> Path:
    """Return the run's own figures folder, or `figures` in the current directory for several runs."""
    return runs[0].folder / "figures" if len(runs) == 1 else Path("figures")


def _is_key(word: str) -> bool:
    return word.startswith(("figures=", "plugins="))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m plots", None, DESCRIPTION, EPILOG, formatter_class=form)
    parser.add_argument(
        "words",
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
    return parser.parse_intermixed_args(arguments)


if __name__ == "__main__":
    command(main)
