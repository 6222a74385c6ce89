"""The packages that come with fedpers are the ones beside it, whatever files of their names the current directory has.

`python -m` puts the current directory first on the path, where `plots.py` or a package `strategies` may well be.
Nothing is put in front of the path, and no other module's import changes: three names are taken before anybody asks.
"""

import importlib.util
import sys
import threading
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

NAMES = ("strategies", "plots", "experiments")
"""Top-level packages that are installed with fedpers."""

_ROOT = str(Path(__file__).parent.parent)
_claiming = threading.RLock()


def claim() -> None:
    """Import our packages from beside fedpers, unless others of their names are imported already."""
    with _claiming:
        for name in NAMES:
            spec = None if name in sys.modules else PathFinder.find_spec(name, [_ROOT])
            if spec is not None and spec.origin is not None and spec.loader is not None:
                module = sys.modules[name] = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)


def rival(name: str) -> str:
    """Return the file or folder of the user's that has the name of one of our packages; empty: there is none."""
    if name not in NAMES:
        return ""
    found = _place(sys.modules[name].__spec__) if name in sys.modules else ""
    if not found or Path(found).parent.resolve() == Path(_ROOT).resolve():
        found = _place(PathFinder.find_spec(name, [str(Path.cwd())]))
    return "" if found and Path(found).parent.resolve() == Path(_ROOT).resolve() else found


def _place(spec: ModuleSpec | None) -> str:
    """Return a module's file, or a package's folder."""
    folders = list(spec.submodule_search_locations or []) if spec else []
    return folders[0] if folders else (spec.origin or "" if spec else "")
