"""State taken apart into tensors and plain values, which safetensors and JSON can hold, and put together again.

A state is a dataclass whose fields are tensors, numbers, text, None, or dictionaries, lists, tuples and dataclasses of
these. Its type says how it is put together, so that nothing in a file names code.
"""

import dataclasses
import hashlib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from torch import Tensor

T = TypeVar("T")
PLAIN = (bool, int, float, str, types.NoneType)


def size_of(tensors: dict[str, Tensor]) -> int:
    """Return the bytes that tensors take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Return tensors as a safetensors file holds them; they may share memory, lie anywhere and in any layout."""
    dense = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return safetensors.torch.save(dense)


def sha256(data: bytes) -> str:
    """Return the hash by which a file is known again."""
    return hashlib.sha256(data).hexdigest()


def read_tensors(path: Path, digest: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what was written, by its hash.
    """
    data = path.read_bytes()
    if sha256(data) != digest:
        raise ValueError(f"{path.name} is not what was written")
    return safetensors.torch.load(data)


def take_apart(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Return a state's tensors by their paths in it, and the rest as plain values, in which paths stand for tensors.

    A tensor that stands at several places is told of once, by its first path, and is one tensor again afterwards.

    Raises:
        TypeError: the state holds something else than tensors, numbers, names and containers of these.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _plain(state, "", tensors, {})


def _plain(value: Any, path: str, tensors: dict[str, Tensor], paths: dict[int, str]) -> Any:
    def inner(each: Any, name: object) -> Any:
        return _plain(each, f"{path}|{name}" if path else str(name), tensors, paths)

    if isinstance(value, Tensor):
        first = paths.setdefault(id(value), path)
        if first == path and path in tensors:
            raise TypeError(f"{path} stands for two tensors: name them apart")
        tensors[first] = value
        return {"tensor": first}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: inner(getattr(value, field.name), field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return [[_key(key, path), inner(each, key)] for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [inner(each, position) for position, each in enumerate(value)]
    if type(value) in PLAIN:
        return value
    raise TypeError(f"{path or 'the state'} is a {type(value).__name__}, which no file can hold")


def _key(key: Any, path: str) -> str | int:
    if type(key) not in (str, int):
        raise TypeError(f"{path} has a key of type {type(key).__name__}; names and whole numbers can be kept")
    return typing.cast(str | int, key)


def put_together(kind: type[T], tensors: dict[str, Tensor], plain: Any) -> T:
    """Return the state of a type that `take_apart` took apart."""
    return typing.cast(T, _restored(kind, tensors, plain))


def _restored(hint: Any, tensors: dict[str, Tensor], plain: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if plain is None:
            return None
        options = [option for option in arguments if option not in PLAIN]
        return _restored(options[0], tensors, plain) if options else plain
    if hint is Tensor:
        return tensors[plain["tensor"]]
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        values = {name: _restored(hints[name], tensors, each) for name, each in plain.items()}
        return typing.cast(Any, hint)(**values)
    if origin is dict:
        return {key: _restored(arguments[1], tensors, each) for key, each in plain}
    if origin is list:
        return [_restored(arguments[0], tensors, each) for each in plain]
    if origin is tuple:
        kinds = (arguments[0],) * len(plain) if len(arguments) == 2 and arguments[1] is ... else arguments
        return tuple(_restored(kind, tensors, each) for kind, each in zip(kinds, plain, strict=True))
    return plain
