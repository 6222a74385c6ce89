"""Plugins that tests write and edit."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

_time = [10**9]


def writer(folder: Path, monkeypatch: pytest.MonkeyPatch, modules: Sequence[str]) -> Callable[[str, str], None]:
    """Return what writes a file of a plugin, as before a new process: it is imported anew, its time is another one.

    Args:
        folder: Where the plugin lies; it is put on the path.
        monkeypatch: Takes that back.
        modules: The plugin's modules.
    """
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def put(name: str, text: str) -> None:
        (folder / name).write_text(text)
        _time[0] += 10**9
        os.utime(folder / name, ns=(_time[0], _time[0]))
        for module in modules:
            sys.modules.pop(module, None)

    return put
