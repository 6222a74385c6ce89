"""A folder that one process writes at a time."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fedpers.errors import UserError, writing

LOCK, HOLDER = ".lock", ".holder.json"


@contextmanager
def held(folder: Path, what: str) -> Iterator[None]:
    """Let no other process into a folder during a block, or until this one ends, however it does.

    Args:
        folder: The folder; it is made if it is not there.
        what: What it is to the user.

    Raises:
        UserError: another process has it; the message says which.
    """
    with writing(f"{what} {folder}", "Name another one with out=DIR"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, blocking=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise UserError(
                f"{what} {folder} is being written by {_holder(folder)}. Wait for its end, or name another one with "
                "out=DIR"
            ) from error
    try:
        since = datetime.now().isoformat(timespec="seconds")
        with writing(f"{what} {folder}", "Make room, or name another one with out=DIR"):
            (folder / HOLDER).write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        found = json.loads((folder / HOLDER).read_text())
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
