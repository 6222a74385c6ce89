"""How a command ends: by itself, or because somebody wants it to, in good order all the same.

SIGTERM and SIGHUP do what Ctrl-C does: they raise in the main thread, so that every `finally` and `with` on the way out
is passed. A shell then sees 128 and the signal's number: 130, 143, 129.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

CLIENT_THREAD = "fedpers client"
"""The name of threads that clients run in."""

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


@contextmanager
def within(seconds: float, key: str) -> Iterator[None]:
    """Bound a block in which a library may wait for ever; outside the main thread, and on Windows, it is not bounded.

    Args:
        seconds: How long it may take.
        key: The key of the configuration that says so.

    Raises:
        TimeoutError: it has taken longer.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"nothing after {seconds:g} seconds, see {key}")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def command(main: Callable[[], int]) -> NoReturn:
    """Run a command as this process, and end it with the command's exit code.

    A thread in which a client hangs keeps nobody waiting: neither who has asked for the end, nor, once it was given up,
    who has the results. Python itself would wait, or take the ground away from under it.
    """
    listen()
    try:
        code = main()
    except KeyboardInterrupt as error:
        sys.stderr.write("stopped\n")
        code = exit_code(error)
    if code > 128 or any(each.name == CLIENT_THREAD for each in threading.enumerate()):
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
