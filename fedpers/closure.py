"""A hash of the code that something rests on: its module, and what that imports of its own, found without running it.

Import statements are followed wherever they stand, through fedpers, the strategies and, for a plugin, the folder that
it lies in (if that is where packages are installed: the plugin's own package). What is imported by a computed name is
not seen, and neither are other libraries.

What counts is what code does, not where it stands: comments, blank lines and docstrings are left out, a definition may
move from one module to another, and an import of these modules counts by what is imported.
"""

import ast
import hashlib
import importlib.util
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from fedpers.config.build import ALLOWED
from fedpers.config.moved import current

log = logging.getLogger(__name__)

OURS = frozenset(path.partition(".")[0] for path in ALLOWED)
"""Packages that are always followed."""

_INSTALLED = ("site-packages", "dist-packages")
_Stamp = tuple[int, int]
_seen: dict[Path, tuple[_Stamp, ModuleSpec | None]] = {}


@dataclass(frozen=True)
class Import:
    """One name that an import statement binds.

    Args:
        module: Where it comes from.
        name: What is taken from there; empty for the module itself.
        alias: What it is called.
    """

    module: str
    name: str
    alias: str


@dataclass(frozen=True)
class Source:
    """What counts of one file.

    Args:
        statements: Its statements, as text without docstrings and imports.
        definitions: The text of the statement that defines each of its names.
        imports: What it imports, within functions too.
    """

    statements: tuple[str, ...]
    definitions: dict[str, str]
    imports: tuple[Import, ...]


def code_sha256(targets: Sequence[str], modules: Sequence[str] = (), *, without: Sequence[str] = ()) -> str | None:
    """Return a hash of the code that some functions, classes and modules rest on; None if it cannot be read.

    Args:
        targets: Dotted paths of functions or classes, as in `_target_`.
        modules: Names of modules.
        without: Names of modules that do not count, nor what is imported by them only.
    """
    try:
        found = closure(targets, modules, without)
        lines = sorted(text for source in found.values() for text in source.statements)
        lines += sorted({_what(each, found) for source in found.values() for each in source.imports})
        lines += sorted(
            _definition(*current(path).rpartition(".")[::2], found) for path in targets
        )  # of two of one name
    except Exception as error:  # whatever a file holds: nobody's run fails because its code cannot be told
        log.warning("the code of %s cannot be told (%s: %s)", ", ".join(targets), type(error).__name__, error)
        return None
    return hashlib.sha256("\0".join(lines).encode()).hexdigest()


def is_ours(path: str) -> bool:
    """Tell whether a dotted path lies in fedpers or the strategies, rather than in a plugin."""
    return path.partition(".")[0] in OURS


def closure(targets: Iterable[str], modules: Iterable[str] = (), without: Iterable[str] = ()) -> dict[str, Source]:
    """Return the source of every module that these rest on, by its name; arguments are those of `code_sha256`.

    Raises:
        Exception: one of them is not there, or a file is not to be read; what exactly depends on the file.
    """
    start = [*(current(path).rpartition(".")[0] for path in targets), *modules]
    finder = _Finder(start)
    found: dict[str, Source] = {}
    for name in start:
        if name == "__main__" or finder.find(name) is None:
            raise ImportError(f"there is no module {name!r} with a file of its own")
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        spec = finder.find(name)
        if name in found or name in without or spec is None:
            continue
        found[name] = _source(spec)
        parents = (name.rpartition(".")[0],) if "." in name else ()
        candidates = (path for each in found[name].imports for path in (each.module, f"{each.module}.{each.name}"))
        waiting += [*parents, *candidates]
    return found


class _Finder:
    """Finds the modules that are followed; None stands for all others.

    Args:
        start: The modules that one begins with: a plugin is followed through its own folder.
    """

    def __init__(self, start: Iterable[str]) -> None:
        self._packages, self._folders = set(OURS), list[str]()
        self._found: dict[str, ModuleSpec | None] = {}
        for top in {name.partition(".")[0] for name in start} - OURS:
            spec = importlib.util.find_spec(top)
            places = [*(spec.submodule_search_locations or [])] or [spec.origin or ""] if spec else []
            folders = [Path(place).parent for place in places]
            self._packages.add(top)
            self._folders += [str(folder) for folder in folders if folder.name not in _INSTALLED]

    def find(self, name: str) -> ModuleSpec | None:
        """Return where a module lies."""
        if name not in self._found:
            self._found[name] = self._look(name)
        return self._found[name]

    def _look(self, name: str) -> ModuleSpec | None:
        above, _, last = name.rpartition(".")
        if above:
            package = self.find(above)
            places = package.submodule_search_locations if package else None
            return PathFinder.find_spec(name, places) if places and last else None
        if name in self._packages:
            return importlib.util.find_spec(name)
        return PathFinder.find_spec(name, self._folders) if self._folders else None


def _source(spec: ModuleSpec) -> Source:
    """Read a module's file.

    Raises:
        RuntimeError: it has changed since this process first read it, and still runs what it was.
    """
    if spec.origin is None and spec.submodule_search_locations is not None:
        return Source((), {}, ())  # a folder
    path = Path(str(spec.origin))
    if path.suffix != ".py":
        raise ImportError(f"{path} is no Python source")
    stat = path.stat()
    stamp = (stat.st_mtime_ns, stat.st_size)
    loaded = getattr(sys.modules.get(spec.name), "__spec__", None)
    before, as_loaded = _seen.get(path, (stamp, loaded))
    if loaded is not None and loaded is as_loaded and stamp != before:
        raise RuntimeError(f"{path} has changed since it was loaded")
    _seen[path] = (stamp, loaded)
    return _read(
        path, stamp, spec.name if spec.submodule_search_locations is not None else spec.name.rpartition(".")[0]
    )


@lru_cache(maxsize=512)
def _read(path: Path, stamp: _Stamp, package: str) -> Source:  # noqa: ARG001
    """Read one file: `stamp` tells its versions apart, relative imports are relative to `package`."""
    tree = ast.parse(path.read_bytes(), str(path))
    imports = tuple(each for node in ast.walk(tree) for each in _imports(node, package))
    for node in ast.walk(tree):
        for block in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, block, None), list):
                kept = [each for each in statements if not _is_silent(each)]
                setattr(node, block, kept or ([ast.Pass()] if statements and block == "body" else []))
    texts = [(each, ast.unparse(each)) for each in tree.body if not isinstance(each, ast.Pass)]
    definitions = {name: text for each, text in texts for name in _defined(each)}
    return Source(tuple(text for _, text in texts), definitions, imports)


def _is_silent(statement: ast.stmt) -> bool:
    """Tell whether a statement is a docstring, or an import, which is counted apart."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    text = isinstance(value, ast.Constant) and isinstance(value.value, str)
    return text or isinstance(statement, ast.Import | ast.ImportFrom)


def _imports(node: ast.AST, package: str) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, "", alias.asname or alias.name)
    elif isinstance(node, ast.ImportFrom):
        module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        for alias in node.names:
            yield Import(module, alias.name, alias.asname or alias.name)


def _defined(statement: ast.stmt) -> Iterator[str]:
    """Return the names that a statement of a module gives a meaning."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _what(each: Import, found: dict[str, Source]) -> str:
    """Return an import as text: of a module that is followed what is imported, of another library from where."""
    if each.module not in found:
        return f"{'' if is_ours(each.module) else each.module} {each.name} {each.alias}"
    if not each.name or f"{each.module}.{each.name}" in found:
        return f"module {(each.name or each.module).rpartition('.')[2]} {each.alias}"
    return f"{_definition(each.module, each.name, found)} {each.name} {each.alias}"


def _definition(module: str, name: str, found: dict[str, Source], depth: int = 8) -> str:
    """Return the text that defines a name of a module, from where it comes if it was only imported there."""
    source = found.get(module)
    if source is None or not depth:
        return module
    if name in source.definitions:
        return source.definitions[name]
    origin = next((each for each in source.imports if each.alias == name), None)
    if origin is None:
        return module
    return _definition(origin.module, origin.name, found, depth - 1)
