"""Errors that a user can mend: `run.py` prints their message and ends with exit code 2."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar


class UserError(ValueError):
    """A mistake in the configuration, the data or the environment, with its remedy in the message."""


class FederationError(RuntimeError):
    """The federation cannot go on although its configuration was sound, e.g. every client failed."""


class Refusing:
    """What a group of the configuration describes, so that it can refuse the values of its keys by name."""

    group: ClassVar[str]

    def require(self, key: str, holds: bool, accepted: str) -> None:
        """Raise a UserError that names a key, its value and what is accepted, unless a condition holds."""
        if not holds:
            raise UserError(f"{self.group}.{key}={getattr(self, key)} is not possible. Accepted: {accepted}")


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """Build the error for a name that does not exist: it lists what exists, the nearest name first."""
    known = sorted(choices)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return UserError(f"unknown {kind} {name!r}.{hint} Accepted: {', '.join(known) or 'none'}")


@contextmanager
def writing(what: object, remedy: str) -> Iterator[None]:
    """Turn what the operating system refuses in a block that writes into a UserError.

    Args:
        what: What is written, as the message begins.
        remedy: What to do where it cannot be.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(what, error, remedy) from error


def cannot_write(what: object, error: OSError, remedy: str) -> UserError:
    """Build the error for a disk that is full, a folder that is protected, and the like."""
    return UserError(f"{what} cannot be written ({error.strerror or error}). {remedy}")
