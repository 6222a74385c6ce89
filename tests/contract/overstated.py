"""Algorithms that say of averaging and privacy what is not so, for the check that must catch them.

https://example.org stands for a source.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broken import Sound

from fedpers.algorithm import Aggregated, Federation, Sent, Server, ServerState, Task, Update, weights_of


@dataclass(frozen=True)
class AveragesByItself(Sound):
    """A server half averages without asking the federation, so that no robust rule has a say."""

    averages = True

    def server(self, federation: Federation) -> Server[Any]:
        return AveragingServer(federation)


@dataclass(frozen=True)
class AveragingServer(Server[ServerState]):
    def init(self) -> ServerState:
        return ServerState({})

    def aggregate(self, state: ServerState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ServerState]:
        keys = next(iter(sent.values())).tensors
        return Aggregated(ServerState({k: sum(s.tensors[k] for s in sent.values()) / len(sent) for k in keys}))  # type: ignore[misc]


@dataclass(frozen=True)
class AveragesUnsaid(Sound):
    """It averages by the federation and says that it does not."""

    averages = False


@dataclass(frozen=True)
class TellsClasses(Sound):
    """How many samples of each class a client has leaves it, although local noise is said to cover everything."""

    sends = receives = ("weights", "labels")
    averages = True
    blurs = ("local",)

    def train(self, task: Task) -> Update:
        update = super().train(task)
        count = task.data.train.labels.bincount(minlength=task.data.num_classes)
        return dataclasses.replace(update, send=update.send | {"labels/count": count})

    def server(self, federation: Federation) -> Server[Any]:
        return WeightsServer(federation)


@dataclass(frozen=True)
class TellsMore(TellsClasses):
    """The same, and central noise on the mean is said to cover it."""

    blurs = ("central",)


@dataclass(frozen=True)
class WeightsServer(Server[ServerState]):
    def init(self) -> ServerState:
        return ServerState(self.federation.initial)

    def aggregate(self, state: ServerState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ServerState]:
        return Aggregated(ServerState(self.federation.average(round, sent, state.shared, weights_of)))


@dataclass(frozen=True)
class SpendsTwice(Sound):
    """It averages twice a round, and central noise is said to cover that as it covers one average."""

    averages = True
    blurs = ("central",)

    def server(self, federation: Federation) -> Server[Any]:
        return TwiceServer(federation)


@dataclass(frozen=True)
class TwiceServer(WeightsServer):
    def aggregate(self, state: ServerState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ServerState]:
        self.federation.average(round, sent, state.shared)
        return super().aggregate(state, round, sent)
