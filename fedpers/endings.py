"""How a command ends: by itself, or because somebody wants it to, in good order all the same.

SIGTERM and SIGHUP do what Ctrl-C does: they raise in the main thread, so that every `finally` and `with` on the way out
is passed. A shell then sees 128 and the signal's number: 130, 143, 129.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT


class Stopped(KeyboardInterrupt):
    """A signal asks the process to end.

    Args:
        number: The signal's number.
    """

    def __init__(self, number: int) -> None:
        """Take the number."""
        super().__init__()
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """Return the exit code of a command that was stopped."""
    return 128 + error.number if isinstance(error, Stopped) else INTERRUPTED


def listen() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does; what is ignored since before, as by nohup, stays so."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


@contextmanager
def keeping_signals() -> Iterator[None]:
    """Give SIGTERM its meaning back after a block in which a library takes it for itself."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def command(main: Callable[[], int]) -> NoReturn:
    """Run a command as this process, and end it with the command's exit code.

    A thread that hangs in a client keeps nobody waiting who has asked for the end.
    """
    listen()
    try:
        code = main()
    except KeyboardInterrupt as error:
        sys.stderr.write("stopped\n")
        code = exit_code(error)
    if code > 128 and any(not each.daemon for each in threading.enumerate() if each is not threading.main_thread()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
