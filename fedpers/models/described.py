"""A deployed model as tensors and plain values, from which it is made again: what a client predicts with, in files.

Most are the run's model with a client's weights: its state dictionary, under its usual names. An algorithm may put
modules of its own around the stages: a memory of neighbours, prototypes for a head, another head's vote. Each tells by
`recipe` how it is made: a class or function, and its arguments, which are tensors, modules, dataclasses of plain
values, and plain values. Stages are told of by name. No code is kept: a recipe names what lies under the modules that
`fedpers.config.build` allows.
"""

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fedpers.config.build import resolve
from fedpers.models.staged import Staged
from fedpers.task import State

FOLDER = "models"
LISTING = "model.json"
FORMAT = 1

PLAIN = (bool, int, float, str, types.NoneType)


def file_of(client: int | str) -> str:
    """Return the name of the file that holds a model's tensors: of a client, by its number, or "global"."""
    return f"client-{client:05d}.safetensors" if isinstance(client, int) else f"{client}.safetensors"


@runtime_checkable
class HasRecipe(Protocol):
    """A module of an algorithm's that can be kept in files."""

    def recipe(self) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
        """Return what makes the module, and its arguments."""


def describe(deployed: Staged, base: Staged) -> tuple[list[Any], State]:
    """Take a deployed model apart.

    Args:
        deployed: The model; its stages are the base's own, or hold them.
        base: The run's model, as it is built.

    Returns:
        Its stages as plain values, by name; and its tensors.

    Raises:
        TypeError: it holds something that no file can hold.
    """
    writer = _Writer({id(stage): name for name, stage in base.named_children()})
    stages = [[name, writer.plain(stage, name)] for name, stage in deployed.named_children()]
    return stages, writer.tensors


class _Writer:
    """Turns modules into plain values, and collects their tensors."""

    def __init__(self, names: dict[int, str]) -> None:
        """Take the names of the stages, by identity."""
        self._names, self.tensors = names, State()

    def plain(self, value: Any, path: str) -> Any:
        """Return what a file can hold of a value."""
        if isinstance(value, nn.Module):
            return self._module(value, path)
        if isinstance(value, Tensor):
            self.tensors[path] = value.detach()
            return {"tensor": path}
        if isinstance(value, Mapping) and all(isinstance(each, Tensor) for each in value.values()):
            return {"tensors": {key: self.plain(each, f"{path}|{key}")["tensor"] for key, each in value.items()}}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
            return self._made_by(type(value), fields, path)
        if type(value) in PLAIN:
            return {"value": value}
        raise TypeError(f"{path} is a {type(value).__name__}, which no file can hold")

    def _module(self, module: nn.Module, path: str) -> Any:
        if id(module) in self._names:
            name = self._names[id(module)]
            self.tensors |= {f"{name}.{key}": tensor.detach() for key, tensor in module.state_dict().items()}
            return {"stage": name}
        if isinstance(module, HasRecipe):
            return self._made_by(*module.recipe(), path)
        if type(module) is nn.Sequential:
            return {"sequence": [self.plain(each, f"{path}|{place}") for place, each in enumerate(module)]}
        raise TypeError(f"{path} is a {type(module).__name__}, which has no `recipe`")

    def _made_by(self, maker: Callable[..., Any], arguments: Mapping[str, Any], path: str) -> Any:
        target = f"{maker.__module__}.{maker.__qualname__}"
        return {
            "target": target,
            "arguments": {key: self.plain(each, f"{path}|{key}") for key, each in arguments.items()},
        }


def rebuild(stages: Iterable[Any], tensors: State, base: Staged, plugins: Iterable[str] = ()) -> Staged:
    """Put a deployed model together again.

    Args:
        stages: What `describe` returned.
        tensors: Likewise.
        base: The run's model, as it is built; its stages become part of the result.
        plugins: Additional modules that recipes may name.

    Raises:
        UserError: a recipe names what is not allowed.
    """
    known = dict(base.named_children())
    with torch.no_grad():
        for key, tensor in base.state_dict().items():
            if key in tensors:
                tensor.copy_(tensors[key])

    def made(node: Mapping[str, Any]) -> Any:
        if "stage" in node:
            return known[node["stage"]]
        if "tensor" in node:
            return tensors[node["tensor"]]
        if "tensors" in node:
            return {key: tensors[path] for key, path in node["tensors"].items()}
        if "sequence" in node:
            return nn.Sequential(*map(made, node["sequence"]))
        if "target" in node:
            maker = resolve(node["target"], "models/model.json", plugins)
            return maker(**{key: made(each) for key, each in node["arguments"].items()})
        return node["value"]

    return Staged({name: made(node) for name, node in stages}).eval()
