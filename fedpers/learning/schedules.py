"""Learning rates over rounds: a factor of the run's `lr`, the same for all clients of a round and for all its steps."""

import math
from dataclasses import dataclass

from fedpers.errors import Refusing


@dataclass(frozen=True)
class Schedule(Refusing):
    """The factor stays at 1, once the first rounds have warmed up.

    Args:
        warmup: Rounds over which the factor rises linearly; the first has 1 / (warmup + 1) of it.
    """

    group = "schedule"

    warmup: int = 0

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("warmup", self.warmup >= 0, "a whole number of at least 0")

    def factor(self, round: int, rounds: int) -> float:
        """Return the factor in a round, counted from 1, of so many."""
        return min(1.0, round / (self.warmup + 1)) * self.after(round - 1 - self.warmup, rounds - self.warmup)

    def after(self, passed: int, rounds: int) -> float:
        """Return the factor when so many rounds after the warm-up have passed, of so many."""
        return 1.0

    @property
    def is_bound_to_rounds(self) -> bool:
        """Whether the factor of a round depends on how many there will be."""
        return False


@dataclass(frozen=True)
class Step(Schedule):
    """The factor is multiplied by `gamma` after every so many rounds.

    Args:
        warmup: Rounds over which the factor rises linearly.
        every: Rounds.
        gamma: What is left of the factor, in (0, 1].
    """

    every: int = 10
    gamma: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        self.require("every", self.every >= 1, "a whole number of at least 1")
        self.require("gamma", 0 < self.gamma <= 1, "a number in (0, 1]")

    def after(self, passed: int, rounds: int) -> float:
        """Return γ^⌊passed / every⌋."""
        return float(self.gamma ** (max(0, passed) // self.every))


@dataclass(frozen=True)
class Cosine(Schedule):
    """The factor falls to `floor` along half a cosine: Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, Eq. 5.

    Args:
        warmup: Rounds over which the factor rises linearly.
        floor: The factor that it would have after the last round, in [0, 1].
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        self.require("floor", 0 <= self.floor <= 1, "a number in [0, 1]")

    def after(self, passed: int, rounds: int) -> float:
        """Return floor + (1 − floor) (1 + cos(π passed / rounds)) / 2."""
        share = max(0, passed) / max(1, rounds)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2

    @property
    def is_bound_to_rounds(self) -> bool:
        """It does."""
        return True
