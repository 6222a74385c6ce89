"""Hold an algorithm to the contract: `python -m fedpers.check strategy=NAME [key=value ...]`.

    python -m fedpers.check strategy=fedper
    python -m fedpers.check strategy=mine plugins=[my_package] --config-dir my_configs

Runs small federations of the algorithm, ours or one from outside, and says of each point of the contract whether it is
kept, and in a sentence how it is not. Takes about 20 seconds. Exit code: 0 if all is kept, 1 if something is broken, 2
for a mistake on the command line.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

with contextlib.suppress(ImportError):  # an older PyTorch has no devices written in Python
    from fedpers import emulated  # noqa: F401 - before the first gradient, when PyTorch counts its devices

from fedpers.arguments import parser
from fedpers.endings import command
from fedpers.errors import UserError

if TYPE_CHECKING:  # imported late, so that --help is quick
    from fedpers.contract.play import Candidate

KEPT, BROKEN, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print, and return the exit code."""
    options = parser("fedpers.check").parse_intermixed_args(arguments)
    if options.help or not options.words:
        sys.stdout.write(f"{__doc__}\n")
        return KEPT if options.help else USAGE
    from fedpers.contract.play import Candidate

    try:
        return report(Candidate(tuple(options.words), options.config_dir))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return USAGE


def report(candidate: "Candidate") -> int:
    """Run all checks, print a line for each, and return the exit code."""
    from fedpers.contract.checks import CHECKS, NotChecked
    from fedpers.contract.watched import Broken
    from fedpers.progress import printer
    from fedpers.scratch import scratch_folder

    console, broken = printer(), 0
    name = candidate.config().choices["strategy"]
    with scratch_folder("fedpers-check-") as folder:
        for check in CHECKS:
            what = (check.__doc__ or "").partition("\n")[0]
            try:
                check(candidate, folder)
            except Broken as error:
                broken += 1
                console.print(f"[red]broken[/red]  {what}", highlight=False, soft_wrap=True)
                console.print(f"        {error}", markup=False, style="bold", highlight=False, soft_wrap=True)
            except NotChecked as error:
                console.print(f"[yellow]skipped[/yellow] {what}", highlight=False, soft_wrap=True)
                console.print(f"        {error}", markup=False, highlight=False, soft_wrap=True)
            else:
                console.print(f"[green]kept[/green]    {what}", highlight=False, soft_wrap=True)
    verdict = f"{broken} of {len(CHECKS)} points are broken" if broken else "the contract is kept"
    console.print(f"strategy={name}: {verdict}", markup=False)
    return BROKEN if broken else KEPT


if __name__ == "__main__":
    command(main)
