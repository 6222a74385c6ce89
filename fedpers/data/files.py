"""What the loaders of downloaded datasets share: where files were looked for, and what to do without them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedpers.errors import UserError

T = TypeVar("T")


def missing(name: str, root: Path, forms: Sequence[str], problem: str = "", *, downloadable: bool = True) -> UserError:
    """Build the error for a dataset whose files are not there.

    Args:
        name: The dataset.
        root: The folder that was searched.
        forms: The files that would have been accepted, relative to `root`.
        problem: What else was tried and failed.
        downloadable: The loader can download them.
    """
    tried = "\n".join(f"  - {root / form}" for form in forms)
    return UserError(
        f"dataset {name!r} was not found in dataset.root={str(root)!r}.\nLooked for:\n{tried}\n"
        + (f"{problem}\n" if problem else "")
        + "Put the files there in one of these forms, or name the folder that has them with dataset.root=DIR"
        + (", or have them downloaded with dataset.download=true" if downloadable else "")
    )


def check_labels(labels: NDArray[np.int64], first: int, last: int, source: str) -> None:
    """Raise a UserError if a file has labels that its dataset has not."""
    if labels.size and not first <= labels.min() <= labels.max() <= last:
        raise UserError(
            f"{source}: labels run from {labels.min()} to {labels.max()}. Accepted: {first} to {last}. It is damaged "
            "or another dataset's: remove it and fetch it again"
        )


def check_count(found: int, published: int, source: str, *, complete: bool) -> None:
    """Raise a UserError if a dataset has not as many images as it was published with, unless any number will do."""
    if complete and found != published:
        raise UserError(
            f"{source} holds {found:,} images, where {published:,} were published: some are missing or it is another "
            "dataset. Fetch it again, or take it as it is with dataset.complete=false"
        )


def download(name: str, root: Path, forms: Sequence[str], fetch: Callable[[], T]) -> T:
    """Run a library's download and turn its failures into the error that says what to do."""
    existed = root.exists()
    try:
        return fetch()
    except Exception as error:  # no network, no space, a wrong checksum: every library has errors of its own
        if not existed:
            shutil.rmtree(root, ignore_errors=True)
        reason = " ".join(str(error).split()) or type(error).__name__
        problem = f"The download was tried and failed: {reason}"
        raise missing(name, root, forms, problem, downloadable=False) from error
