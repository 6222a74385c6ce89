"""No process outlives the one that started it, however that ends: a guardian waits for its end and ends them.

A process that starts others does so in a block of `guarded`. That marks its environment, which all processes below it
inherit, and starts the guardian: this file as a program. When its standard input is closed, which the operating system
does for a process that was killed, too, the guardian kills whatever still bears the mark.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported late: the process that is guarded need not
    import psutil

MARK = "FEDPERS_GUARDED_BY"
"""The variable of the environment that tells whose a process is."""

GRACE = 2.0
"""Seconds that processes have to end by themselves, as those of an orderly end do."""

_guardian: "subprocess.Popen[bytes] | None" = None
_mark = uuid.uuid4().hex


@contextmanager
def guarded() -> Iterator[None]:
    """Let all processes that are started in this block, and all below them, end with this one."""
    global _guardian
    if _guardian is None or _guardian.poll() is not None:
        _guardian = subprocess.Popen(
            [sys.executable, "-P", __file__, _mark],
            stdin=subprocess.PIPE,  # never written to: it is closed when this process ends
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not meant for it
        )
    before = os.environ.get(MARK)
    os.environ[MARK] = _mark
    try:
        yield
    finally:
        os.environ.pop(MARK)
        if before is not None:
            os.environ[MARK] = before


def main(mark: str) -> None:
    """Watch over the process that started this one until it ends, then kill what it left."""
    import psutil

    known: set[psutil.Process] = set()
    owner, pause = psutil.Process(os.getppid()), 0.5
    with contextlib.suppress(psutil.Error):
        while not select.select([sys.stdin], [], [], pause)[0]:
            known |= {process for child in owner.children() for process in _family(child, known, mark)}
            pause = min(1.5 * pause, 5.0)
    deadline = time.monotonic() + GRACE
    while left := _left(known, mark):
        known |= left
        for process in left if time.monotonic() > deadline else ():
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.1)


def _family(child: "psutil.Process", known: "set[psutil.Process]", mark: str) -> "list[psutil.Process]":
    """Return a child and all below it, if it was started in a block of `guarded`."""
    import psutil

    try:
        ours = child in known or child.environ().get(MARK) == mark
        return [child, *child.children(recursive=True)] if ours else []
    except (psutil.Error, OSError):
        return []


def _left(known: "set[psutil.Process]", mark: str) -> "set[psutil.Process]":
    """Return what still runs of known processes, of those below them, and of those that bear the mark.

    Some of Ray's write their title over their environment, and are found as what was known before alone.
    """
    import psutil

    own = psutil.Process()
    found = {process for process in known if process.is_running() and process.status() != psutil.STATUS_ZOMBIE}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark or process.parent() in found:
                found.add(process)
    return found - {own}


if __name__ == "__main__":
    main(sys.argv[1])
