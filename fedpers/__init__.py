"""fedpers: a simulator for personalized federated learning.

From Python, `simulate` runs a federation and returns its `Run`, `Simulation` goes through it round by round, and `load`
reads the results of many runs as one table; see docs/python.md.
"""

from typing import TYPE_CHECKING, Any

from fedpers.version import __version__

__all__ = ["FederationError", "Run", "Simulation", "UserError", "__version__", "load", "simulate"]

if TYPE_CHECKING:
    from fedpers.errors import FederationError, UserError
    from fedpers.results import Run, load
    from fedpers.simulation import Simulation, simulate

_HOMES = {
    "FederationError": "fedpers.errors",
    "Run": "fedpers.results",
    "Simulation": "fedpers.simulation",
    "UserError": "fedpers.errors",
    "load": "fedpers.results",
    "simulate": "fedpers.simulation",
}
"""Imported when they are asked for: workers and tables need no simulator."""


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return what may be asked for."""
    return sorted({*globals(), *__all__})
