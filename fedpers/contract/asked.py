"""A Federation that notes what a server half lets it average."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fedpers.federation import Federation, Sent
from fedpers.task import State


@dataclass(frozen=True)
class Asked(Federation):
    """A Federation that notes the names of all that it averages.

    Args:
        names: Where it notes them.
    """

    names: set[str] = field(default_factory=set)

    def average(
        self,
        round: int,
        sent: Mapping[int, Sent],
        start: State,
        part: Callable[[State], State] = lambda tensors: tensors,
        *,
        plain: bool = False,
    ) -> State:
        """Average, and note what."""
        for each in sent.values():
            self.names.update(part(each.tensors))
        return super().average(round, sent, start, part, plain=plain)


def asked(federation: Federation, names: set[str]) -> Asked:
    """Return a federation that notes what it averages."""
    return Asked(**{each.name: getattr(federation, each.name) for each in dataclasses.fields(federation)}, names=names)
