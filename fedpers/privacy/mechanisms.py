"""Clipping and Gaussian noise, so that what leaves hardly depends on any one client's data.

McMahan, Ramage, Talwar and Zhang, "Learning Differentially Private Recurrent Language Models", ICLR 2018,
https://arxiv.org/abs/1710.06963 (DP-FedAvg: central noise, every client counting once); Geyer, Klein and Nabi,
"Differentially Private Federated Learning: A Client Level Perspective", 2017, https://arxiv.org/abs/1712.07557. With
local noise no server has to be trusted, and every client pays for itself.

Two federations are neighbours where one client's data are exchanged for any others, so that a sum of updates clipped
to C moves by up to 2 C. What is public: who is sampled, who answers. Scores and figures leave a client because this is
a simulation; they are not accounted for. The noise is float32 from a seeded generator: it shows what a budget costs,
and protects nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fedpers.aggregation.base import flat
from fedpers.aggregation.clipping import shorten
from fedpers.averaging import plain_mean
from fedpers.errors import Refusing
from fedpers.task import State, Task

_HOLDERS = "labels/holders"

SENSITIVITY = 2.0
"""How far a sum of clipped updates moves when one client is exchanged, in units of the clipping norm."""


@dataclass(frozen=True)
class Privacy(Refusing):
    """What both mechanisms have in common.

    Args:
        clip: C, the largest L2 norm of what a client changes, over all that it sends.
        noise: z, the noise's standard deviation in units of C.
        delta: δ of the budget (ε, δ) that is reported.
    """

    group = "privacy"
    kind: ClassVar[str] = ""

    clip: float
    noise: float
    delta: float

    def __post_init__(self) -> None:
        """Check ranges."""
        self.require("clip", self.clip > 0, "above 0")
        self.require("noise", self.noise > 0, "above 0; aggregation=norm_clipping clips without noise")
        self.require("delta", 0 < self.delta < 1, "a number in (0, 1)")

    @property
    def multiplier(self) -> float:
        """The noise's standard deviation in units of the sensitivity."""
        return self.noise / SENSITIVITY

    def clipped(self, state: State, start: Mapping[str, Tensor]) -> State:
        """Return an update, from where it started, no longer than the clipping norm."""
        norm = float(flat(state, start, list(state)).norm())
        return shorten(state, start, min(1.0, self.clip / norm) if norm else 1.0)

    def stands_out(self, rows: Tensor) -> Tensor:
        """Return which rows (n, d) of what a client has blurred are more than noise: a mask (n,).

        Noise alone has a squared norm of σ² (d ± √(2d)) in d numbers; twice that far above the mean a row is believed.
        """
        width, variance = rows.shape[1], (self.noise * self.clip) ** 2
        mask: Tensor = rows.square().sum(1) > variance * (width + 2 * (2 * width) ** 0.5)
        return mask

    def at_client(self, task: Task, sent: State) -> State:
        """Return what leaves a client."""
        return sent

    def at_server(
        self, states: Sequence[State], start: Mapping[str, Tensor], stream: torch.Generator, releases: int = 1
    ) -> State | None:
        """Return what a server makes of updates; None where that is not the mechanism's part."""
        return None

    def by_class(
        self, states: Sequence[State], stream: torch.Generator, releases: int = 1
    ) -> tuple[State, Tensor] | None:
        """Return what a server makes of clients' rows by class; None where that is not the mechanism's part."""
        return None


@dataclass(frozen=True)
class Central(Privacy):
    """A trusted server clips what clients send, and adds noise to the sum of it, once a round.

    Where a round makes several such sums, each is of what has been clipped to C / √releases, so that together they are
    one sum of updates of norm C: McMahan et al., section 3, who clip a model's layers so.
    """

    kind: ClassVar[str] = "central"

    def at_server(
        self, states: Sequence[State], start: Mapping[str, Tensor], stream: torch.Generator, releases: int = 1
    ) -> State:
        """Return the plain mean of m clipped updates with noise of standard deviation z C / m in each number."""
        part = replace(self, clip=self.clip / releases**0.5)
        clipped = [part.clipped(state, start) for state in states]
        std = self.noise * self.clip / len(states)
        return {name: with_noise(mean, std, stream) for name, mean in plain_mean(clipped).items()}

    def by_class(self, states: Sequence[State], stream: torch.Generator, releases: int = 1) -> tuple[State, Tensor]:
        """Return the mean of clients' rows for each class, and which of the classes (known,) are known.

        Each client's rows and, for each class, a 1 if it holds it are clipped as one; of both there is a noisy sum, and
        a class of which the holders stand out of the noise by two standard deviations has the one divided by the other.

        Args:
            states: Of each client tensors (classes, ...) of floats; rows of zeros for classes that it does not hold.
            stream: Draws the noise.
            releases: Noisy sums in a round.
        """
        part = replace(self, clip=self.clip / releases**0.5)
        clipped = [part.clipped({**state, _HOLDERS: _held(state)}, {}) for state in states]
        std = self.noise * self.clip
        noisy = {
            name: with_noise(torch.stack([each[name] for each in clipped]).sum(0), std, stream) for name in clipped[0]
        }
        holders = noisy.pop(_HOLDERS)
        known = (holders > 2 * std).nonzero().flatten()
        return {name: (total[known].mT / holders[known]).mT for name, total in noisy.items()}, known


@dataclass(frozen=True)
class Local(Privacy):
    """Every client clips its own update and adds noise before it is sent: nobody is trusted."""

    kind: ClassVar[str] = "local"

    def at_client(self, task: Task, sent: State) -> State:
        """Return the clipped update with noise of standard deviation z C in each number."""
        clipped = self.clipped(sent, task.initial | task.received)
        stream = task.generator("privacy")
        return {name: with_noise(tensor, self.noise * self.clip, stream) for name, tensor in clipped.items()}


def _held(rows: State) -> Tensor:
    """Return 1 for each class of which a client has a row that is not zero, and 0 for the others: (classes,)."""
    return torch.stack([each.flatten(1).ne(0).any(1) for each in rows.values()]).any(0).float()


def with_noise(tensor: Tensor, std: float, stream: torch.Generator) -> Tensor:
    """Return a tensor with Gaussian noise in each number; whole numbers are as they were."""
    if not tensor.is_floating_point():
        return tensor
    return tensor + std * torch.randn(tensor.shape, generator=stream).to(tensor)
