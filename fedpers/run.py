"""The command line: `python -m fedpers.run [group=choice] [key=value] ...`; `--help` lists them all."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

# Flower reports usage unless told not to; fedpers talks to nobody
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

from fedpers.arguments import parser
from fedpers.endings import command, exit_code
from fedpers.errors import FederationError, UserError

OK, FAILED, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 2 for a user's mistake, 1 for a failed run."""
    options = _parse(arguments)
    debug = [text for text in options.words if text.startswith("debug=")][-1:] in (
        ["debug=true"],
        ["debug=True"],
    )
    try:
        if options.help:
            from fedpers.config.help import help_about, help_text

            words, folder = options.words, options.config_dir
            sys.stdout.write((help_about(words, folder) if words else help_text(folder)) + "\n")
            return OK
        from fedpers.conduct import conduct
        from fedpers.planning import plan

        planned = plan(options.words, options.multirun, options.config_dir)
        if failures := conduct(planned):
            return _fail(f"{len(failures)} of {len(planned.jobs)} jobs failed: {'; '.join(failures)}", FAILED, debug)
        return OK
    except UserError as error:
        return _fail(str(error), USAGE, debug)
    except FederationError as error:
        return _fail(str(error), FAILED, debug)
    except KeyboardInterrupt as error:
        return _fail("stopped; the results of finished rounds are kept, resume=RUN goes on", exit_code(error), debug)
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


def as_command() -> NoReturn:
    """Run the command line as this process."""
    command(main)


if __name__ == "__main__":
    as_command()
