"""Objects in the place of names: what a program hands over, found by the configuration under a name of its own.

A configuration is plain text. An object whose class it can name, with fields that it can write down, becomes just
that text; a run of it is one that the command line could have made. Any other, of a class in a notebook's cell, say,
is registered here: `_target_` then is `fedpers.given.NAME_DIGEST`. The digest is of its source and its fields, so that
a cell that has not changed gives the same name, and runs of two versions are told apart.

Threads of this process find what was registered, Ray's workers are sent it, and no file ever holds it.
"""

import copy
import functools
import hashlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import nn

from fedpers.config.build import build, is_allowed, resolve
from fedpers.config.identity import targets
from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.state import sha256, to_bytes


@dataclass(frozen=True)
class Given:
    """What a name stands for.

    Args:
        thing: The object or function.
        is_maker: Whether calling the name calls the function, instead of giving the object.
    """

    thing: Any
    is_maker: bool

    def target(self, name: str) -> Callable[..., Any]:
        """Return a function that `fedpers.config.build` can call, as if it were defined here under this name."""
        make: Callable[..., Any] = self.thing if self.is_maker else self._give

        @functools.wraps(make)  # with its signature and all that it says of itself
        def found(*values: Any, **arguments: Any) -> Any:
            return make(*values, **arguments)

        found.__module__, found.__name__ = __name__, name
        return found

    def _give(self) -> Any:
        """Return the object: of a model, which is trained in place, a copy each time."""
        return copy.deepcopy(self.thing) if isinstance(self.thing, nn.Module) else self.thing


_known: dict[str, Given] = {}


def __getattr__(name: str) -> Any:
    """Return what stands behind a name; the configuration finds it as if it were defined here."""
    if name not in _known:
        raise AttributeError(
            f"{name} was an object of a Python program, which this process has not been given. Accepted: the same "
            'program, with fedpers.simulate("resume=RUN", ...) and the same object'
        )
    return _known[name].target(name)


def spec_of(thing: Any, group: str, kind: type, plugins: Iterable[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Return how a configuration names an object, and the modules that it needs as `plugins` besides.

    Args:
        thing: An object of the kind that the group gives, or a function that makes one.
        group: The configuration group.
        kind: What the group gives: `Algorithm`, `Partition`, ...
        plugins: Modules that the configuration names already.

    Raises:
        UserError: it is neither.
    """
    if not isinstance(thing, kind) and not callable(thing):
        wanted = f"{kind.__module__}.{kind.__qualname__}"
        raise UserError(
            f"{group}={type(thing).__name__} is not possible. Accepted: a name, a {wanted}, or what makes one"
        )
    is_maker = not isinstance(thing, kind)
    path, own = _path(thing if is_maker else type(thing)), dict[str, Any]()
    if not is_maker and is_dataclass(thing):
        own = {each.name: getattr(thing, each.name) for each in fields(thing) if each.init}
    if path and _is_plain(own) and (is_maker or is_dataclass(thing)):
        module = path.rpartition(".")[0]
        needed = [] if is_allowed(path, plugins) else [module]
        spec = {"_target_": path, **_as_text(own)}
        if is_maker or build(spec, group, plugins=[*plugins, *needed]) == thing:
            return spec, needed
    return {"_target_": f"{__name__}.{register(thing, is_maker=is_maker)}"}, []


def register(thing: Any, *, is_maker: bool) -> str:
    """Remember an object and return the name that it has from now on."""
    about = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    try:
        source = inspect.getsource(about)
    except (OSError, TypeError):  # typed at a prompt
        source = about.__qualname__
    content = "" if about is thing else _content(thing)
    digest = hashlib.sha256(f"{source}\0{content}".encode()).hexdigest()[:8]
    name = f"{about.__name__.strip('<>')}_{digest}"
    _known[name] = Given(thing, is_maker)
    return name


def _content(thing: Any) -> str:
    """Return what tells an object from others of its class: pixels, weights, or else its fields."""
    if isinstance(thing, nn.Module):
        return repr(thing) + sha256(to_bytes(thing.state_dict()))
    return str(thing.sha256()) if hasattr(thing, "sha256") else repr(thing)


def path_of(function: Callable[..., Any], key: str) -> tuple[str, list[str]]:
    """Return how a configuration names a metric or a figure, by its own name, and the modules that it needs.

    Raises:
        UserError: it is no function with a name.
    """
    if not inspect.isroutine(function) or "<" in function.__name__:
        raise UserError(f"{key}: {function!r} is not possible. Accepted: names, and functions that have one")
    if path := _path(function):
        module = path.rpartition(".")[0]
        return path, [] if is_allowed(path) else [module]
    _known[function.__name__] = Given(function, is_maker=True)
    return f"{__name__}.{function.__name__}", []


def given_to(config: Config) -> dict[str, Given]:
    """Return the registered objects that a configuration names, to be sent to other processes."""
    paths = [*targets([vars(config)[each] for each in vars(config)]), *config.metrics]
    return {name: _known[name] for path in paths if (name := str(path).removeprefix(f"{__name__}.")) in _known}


def take(objects: Mapping[str, Given]) -> None:
    """Know objects that another process knows."""
    _known.update(objects)


def is_given(path: Any) -> bool:
    """Tell whether a dotted path names a registered object: nobody can tell what it will give tomorrow."""
    return str(path).startswith(f"{__name__}.")


def _path(about: Any) -> str:
    """Return the dotted path by which a class or function can be imported anywhere; empty: there is none."""
    module, name = getattr(about, "__module__", ""), getattr(about, "__qualname__", "")
    if not module or module == "__main__" or "." in name or "<" in name:
        return ""
    try:
        found = resolve(f"{module}.{name}", "object", [module])
    except UserError:
        return ""
    return f"{module}.{name}" if found is about and _has_file(module) else ""


def _has_file(module: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.has_location


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _as_text(value: Any) -> Any:
    """Return plain values as JSON has them: tuples are lists."""
    if isinstance(value, Mapping):
        return {key: _as_text(item) for key, item in value.items()}
    return [_as_text(item) for item in value] if isinstance(value, list | tuple) else value
