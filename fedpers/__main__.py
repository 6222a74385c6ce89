"""Run a command by its name, whatever lies in the current directory: `python -m fedpers plots RUN [RUN ...]`.

    python -m fedpers NAME [ARGUMENT ...]     NAME: run, data, check, plots, experiments.comparison, ...

`python -m plots` does the same as long as the current directory has no plots.py and no package plots: Python would
run those. Here ours is found first; modules of your own in the current directory can be named under `plugins` as ever.
"""

import importlib.util
import runpy
import sys

from fedpers import siblings
from fedpers.errors import unknown_name

OWN = ("run", "data", "check")
USAGE = 2


def main(arguments: list[str]) -> int:
    """Run the command that the first argument names; return the exit code if there is none."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(f"{__doc__}\n")
        return 0 if arguments else USAGE
    name, rest = arguments[0], arguments[1:]
    siblings.claim()
    module = f"fedpers.{name}" if name in OWN else name
    if name not in OWN and (name.partition(".")[0] not in siblings.NAMES or not _exists(name)):
        sys.stderr.write(f"error: {unknown_name('command', name, (*OWN, 'plots', 'experiments.NAME'))}\n")
        return USAGE
    sys.argv[1:] = rest
    runpy.run_module(module, run_name="__main__")
    return 0


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
