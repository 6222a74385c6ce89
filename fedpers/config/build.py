"""Turn a group's configuration into an object: import `_target_`, check its arguments, call it.

The signature of the target is the schema: an unknown key, a missing key or a value of the wrong type is a
`UserError` that names the key. Only what is defined in modules under `ALLOWED` is called, and in those that the user
names under `plugins`, on the command line alone: a configuration file from elsewhere cannot call whatever it likes.
"""

import contextlib
import importlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, Union

from fedpers import siblings
from fedpers.config.keys import Spec
from fedpers.config.moved import current
from fedpers.errors import UserError, unknown_name

ALLOWED = (
    "fedpers.data",
    "fedpers.models",
    "fedpers.engines",
    "fedpers.aggregation",
    "fedpers.faults",
    "fedpers.attacks",
    "fedpers.privacy",
    "fedpers.given",
    "fedpers.learning",
    "strategies",
    "plots",
)


def build(spec: Spec, group: str, *, plugins: Iterable[str] = (), returns: type | None = None, **extra: Any) -> Any:
    """Call a specification's target with its keyword arguments and those of `extra` that it takes.

    Args:
        spec: `_target_` and keyword arguments, as composed from YAML.
        group: The configuration group, for messages: key `alpha` of group `partition` is `partition.alpha`.
        plugins: Additional modules that may be imported.
        returns: What the target has to return.
        **extra: Arguments that the caller knows (e.g. the data's shape); the target takes those it names.

    Raises:
        UserError: the target is not allowed or does not exist, a key is unknown, missing or of a wrong type, or what
            it returns is something else.
    """
    if "_target_" not in spec:
        what = f"{group}.{min(spec)}={spec[min(spec)]}" if spec else group
        raise UserError(
            f"{what} is not possible where nothing is chosen that it is a key of. Accepted: {group}=NAME beside it; "
            "--help has the names and their keys"
        )
    target = resolve(spec["_target_"], f"{group}._target_", plugins)
    parameters = inspect.signature(target).parameters
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    given = {key: value for key, value in spec.items() if key != "_target_"}
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    keys = [name for name, p in parameters.items() if name not in extra and p.kind not in open_ended]
    for key in given:
        if key not in keys:
            raise unknown_name(f"key {group}.{key}; in {spec['_target_']} the key", key, keys)
    arguments = {key: value for key, value in extra.items() if key in parameters}
    for key in keys:
        if key in given:
            check_finite(given[key], f"{group}.{key}")
            arguments[key] = coerce(given[key], hints.get(key, Any), f"{group}.{key}")
        elif parameters[key].default is inspect.Parameter.empty:
            raise UserError(f"{group}.{key} is missing: {spec['_target_']} needs it")
    made = target(**arguments)
    if returns is not None and not isinstance(made, returns):
        raise UserError(
            f"{group}._target_={spec['_target_']} returned a {type(made).__name__}. Accepted: a "
            f"{returns.__module__}.{returns.__qualname__}"
        )
    return made


def resolve(path: str, key: str, plugins: Iterable[str] = ()) -> Callable[..., Any]:
    """Import what a dotted path names, wherever it lies by now, if it lies under an allowed module."""
    path = current(path)
    allowed = (*ALLOWED, *plugins)
    refusal = UserError(
        f"{key}={path!r} is not allowed. Accepted: names defined in {', '.join(allowed)}; "
        "add your own module with plugins=[module]"
    )
    if not is_allowed(path, plugins):
        raise refusal
    module_name, _, name = path.rpartition(".")
    siblings.claim()
    try:
        found = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        top = str(error.name).partition(".")[0]
        place = siblings.rival(top)
        hint = f". {top!r} is a package of fedpers, not {place}: rename that one" if place else ""
        raise UserError(f"{key}={path!r}: there is no module {error.name!r}{hint}") from error
    except AttributeError as error:
        plain = f"module {module_name!r} has no {name!r}"
        told = plain if str(error).startswith("module ") else str(error)  # by the module itself
        raise UserError(f"{key}={path!r}: {told}") from error
    if not callable(found):
        raise UserError(f"{key}={path!r} cannot be called")
    if not is_allowed(f"{getattr(found, '__module__', '')}.{name}", plugins):  # it was only imported there
        raise refusal
    return typing.cast(Callable[..., Any], found)


def is_allowed(path: Any, plugins: Iterable[str] = ()) -> bool:
    """Tell whether a dotted path lies under a module that may be imported."""
    return isinstance(path, str) and any(path.startswith(f"{module}.") for module in (*ALLOWED, *plugins))


def check_finite(value: Any, key: str) -> None:
    """Raise a UserError if a value, or one of those in a list or object, is infinite or no number."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key}={value} is not possible. Accepted: finite numbers")
    if isinstance(value, dict):
        for name, item in value.items():
            check_finite(item, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            check_finite(item, f"{key}[{number}]")


def coerce(value: Any, hint: Any, key: str) -> Any:
    """Return `value` as the annotated type; a whole number serves as a float, a list as a tuple.

    Raises:
        UserError: the value is of another type.
    """
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        for option in arguments:
            with contextlib.suppress(UserError):
                return coerce(value, option, key)
    elif origin is Literal:
        if value in arguments:
            return value
    elif origin in (tuple, list):
        if isinstance(value, list | tuple):
            items = [coerce(item, arguments[0], f"{key}[{i}]") for i, item in enumerate(value)]
            return tuple(items) if origin is tuple else items
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint is types.NoneType:
        if value is None:
            return None
    elif isinstance(value, origin or hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise UserError(f"{key}={value!r} has the wrong type. Accepted: {described(hint)}")


def described(hint: Any) -> str:
    """Return what values of a type are, in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(described(option) for option in arguments)
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin in (tuple, list):
        return f"a list of {described(arguments[0])}"
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        types.NoneType: "null",
    }
    return names.get(hint, str(hint))
