"""Files and folders that are being written; what a killed process left is removed by the next one that writes there."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Make an empty folder that is gone after the block, unless it was renamed there.

    A lock beside it says that its owner is alive: the operating system lets go of it when that ends, however it ends.

    Args:
        prefix: How its name begins; folders of that name without a living owner are removed first.
        parent: Where to make it; None: where the system keeps what is temporary.
    """
    parent = parent or Path(tempfile.gettempdir())
    for left in parent.glob(f"{prefix}*.lock"):
        _remove_if_left(left)
    with tempfile.NamedTemporaryFile(prefix=prefix, suffix=".lock", dir=parent, delete=False) as file:
        lock = Path(file.name)
    try:
        with FileLock(lock):
            folder = lock.with_suffix("")
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.unlink(missing_ok=True)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Let a file be written under another name, and rename it after the block: it is there as a whole or not at all."""
    scratch = path.with_name(f".{path.name}")
    yield scratch
    scratch.replace(path)


def _remove_if_left(lock: Path) -> None:
    with contextlib.suppress(OSError, Timeout), FileLock(lock, blocking=False):
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink(missing_ok=True)
