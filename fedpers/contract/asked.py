"""A Federation that notes what a server half lets it average, and what share of a round's budget that takes."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fedpers.federation import Federation, Sent
from fedpers.task import State


@dataclass
class Notes:
    """What a server half has asked its federation for.

    Args:
        averaged: Names of what it averaged, by class or not.
        weights: Whether any of it was averaged as weights are, not by class.
        budget: The share of the privacy budget of each round that it took.
    """

    averaged: set[str] = field(default_factory=set)
    weights: bool = False
    budget: dict[int, float] = field(default_factory=dict)

    def add(self, round: int, sent: Mapping[int, Sent], part: Callable[[State], State], releases: int) -> None:
        """Note an average."""
        for each in sent.values():
            self.averaged.update(part(each.tensors))
        self.budget[round] = self.budget.get(round, 0.0) + 1 / releases


@dataclass(frozen=True)
class Asked(Federation):
    """A Federation that notes what it is asked for.

    Args:
        notes: Where it notes it.
    """

    notes: Notes = field(default_factory=Notes)

    def average(
        self,
        round: int,
        sent: Mapping[int, Sent],
        start: State,
        part: Callable[[State], State] = lambda tensors: tensors,
        *,
        plain: bool = False,
        releases: int = 1,
    ) -> State:
        """Average, and note what."""
        self.notes.add(round, sent, part, releases)
        self.notes.weights |= any(part(each.tensors) for each in sent.values())
        return super().average(round, sent, start, part, plain=plain, releases=releases)

    def average_by_class(
        self, round: int, sent: Mapping[int, Sent], part: Callable[[State], State], *, releases: int = 1
    ) -> tuple[State, Tensor] | None:
        """Average by class, and note what."""
        self.notes.add(round, sent, part, releases)
        return super().average_by_class(round, sent, part, releases=releases)


def asked(federation: Federation, notes: Notes) -> Asked:
    """Return a federation that notes what it is asked for."""
    return Asked(**{each.name: getattr(federation, each.name) for each in dataclasses.fields(federation)}, notes=notes)
