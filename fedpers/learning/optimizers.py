"""Optimizers of clients, any of `torch.optim` by name, and what they remember between two rounds of a client."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fedpers.config.keys import Config
from fedpers.errors import Refusing, UserError, unknown_name

PREFIX = "optimizer/"
"""What an optimizer remembers lies in its client's memory under names that begin so; it never leaves the client."""

_NAMES = sorted(
    name
    for name, found in vars(torch.optim).items()
    if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer) and found is not torch.optim.Optimizer
)
_UNFIT = ("LBFGS", "SparseAdam", "Muon")  # asks for losses again and again; for sparse gradients; for matrices only
NAMES = tuple(name for name in _NAMES if name not in _UNFIT)
_OURS = ("params", "lr", "weight_decay", "momentum", "fused", "foreach", "maximize", "differentiable", "capturable")


@dataclass(frozen=True)
class Optimizer(Refusing):
    """An optimizer of PyTorch, made anew for each training.

    Its learning rate is the run's `lr`, by the schedule; it takes the run's `weight_decay` and `momentum` if it has
    such.

    Args:
        name: Its class in `torch.optim`.
        keep: Begin with what it remembered (moments, step counts) after the client's last training, instead of afresh.
        keys: Further arguments of the class, by name.
    """

    group = "optimizer"

    name: str
    keep: bool = False
    keys: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that there is such a class, and that it has such arguments."""
        if self.name not in NAMES:
            raise unknown_name("optimizer.name", self.name, NAMES)
        taken = [key for key in self._parameters if key not in _OURS]
        for key in self.keys:
            if key not in taken:
                raise unknown_name(f"key in optimizer.keys: {self.name} has no", key, taken)
        self.make([torch.zeros(1, requires_grad=True)], 0.1, Config())

    @property
    def _class(self) -> Any:
        return getattr(torch.optim, self.name)

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self._class).parameters

    def make(self, parameters: Sequence[Tensor], lr: float, config: Config) -> torch.optim.Optimizer:
        """Return the optimizer of some parameters, in PyTorch's fused form where it has one.

        Raises:
            UserError: it does not take these values.
        """
        takes = self._parameters
        own = {key: getattr(config, key) for key in ("weight_decay", "momentum") if key in takes}
        fused = {"fused": True} if "fused" in takes else {}
        values = {key: tuple(each) if isinstance(each, list) else each for key, each in self.keys.items()}
        try:
            made: torch.optim.Optimizer = self._class(parameters, lr=lr, **own, **fused, **values)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"optimizer.name={self.name} refuses its keys ({error}). Accepted: see PyTorch's page"
            ) from error
        return made

    def without_effect(self, config: Config) -> list[str]:
        """Return the run's keys that are set and that this optimizer does not have."""
        return [key for key in ("momentum", "weight_decay") if getattr(config, key) and key not in self._parameters]


def remembered(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Return what an optimizer remembers, by name: a number for each of its parameters, then its own name."""
    found: dict[str, Tensor] = {}
    for number, parameter in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                found[f"{prefix}{number}/{name}"] = value.detach() if isinstance(value, Tensor) else torch.tensor(value)
    return found


def remind(optimizer: torch.optim.Optimizer, memory: Mapping[str, Tensor], prefix: str) -> None:
    """Let an optimizer begin with what `remembered` has returned, if it was that of parameters of the same shapes."""
    parameters, states = _parameters(optimizer), dict[int, dict[str, Tensor]]()
    for key, value in memory.items():
        if key.startswith(prefix):
            number, _, name = key.removeprefix(prefix).partition("/")
            states.setdefault(int(number), {})[name] = value.clone()
    fits = all(
        number < len(parameters)
        and all(each.dim() == 0 or each.shape == parameters[number].shape for each in state.values())
        for number, state in states.items()
    )
    if fits:
        optimizer.state.update({parameters[number]: state for number, state in states.items()})


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
