"""Algorithms that break the contract on purpose, for the checks that must catch them.

https://example.org stands for a source.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from fedpers.algorithm import (
    Aggregated,
    Algorithm,
    Average,
    Federation,
    Sent,
    Server,
    ServerState,
    State,
    Task,
    Update,
)
from fedpers.models.staged import Staged
from strategies.parts.personal_layers import keys_of


@dataclass(frozen=True)
class Sound(Algorithm):
    """FedPer, which breaks nothing."""

    def personal_keys(self, model: Staged) -> frozenset[str]:
        return keys_of(model, ["head"])


def head(task: Task) -> State:
    return {key: tensor for key, tensor in task.personal().items() if key.startswith("head.")}


@dataclass(frozen=True)
class SendsHead(Sound):
    """A personal head leaves under its own name."""

    def train(self, task: Task) -> Update:
        update = super().train(task)
        return dataclasses.replace(update, send=update.send | head(task))


@dataclass(frozen=True)
class SendsHeadUnderPrefix(Sound):
    """A personal head leaves under a prefix, whose kind is declared."""

    sends = receives = ("weights", "prototypes")

    def train(self, task: Task) -> Update:
        update = super().train(task)
        return dataclasses.replace(update, send=update.send | {f"prototypes/{k}": w for k, w in head(task).items()})


@dataclass(frozen=True)
class SendsHeadRenamed(Sound):
    """A personal head leaves flat and under another name."""

    sends = receives = ("weights", "prototypes")

    def train(self, task: Task) -> Update:
        update = super().train(task)
        copy = head(task)["head.weight"].flatten()
        return dataclasses.replace(update, send=update.send | {"prototypes/mean": copy})


@dataclass(frozen=True)
class SendsUndeclared(Sound):
    """A tensor of a kind leaves that nobody declared."""

    def train(self, task: Task) -> Update:
        update = super().train(task)
        return dataclasses.replace(update, send=update.send | {"labels/count": torch.ones(2)})


@dataclass(frozen=True)
class KeepsInItself(Sound):
    """Every client's last head is kept in the algorithm instead of the client's memory."""

    past: dict[int, State] = field(default_factory=dict, init=False)

    def train(self, task: Task) -> Update:
        for key, tensor in self.past.get(task.client, {}).items():
            task.model.state_dict()[key].copy_(tensor)
        update = super().train(task)
        self.past[task.client] = {key: w.clone() for key, w in head(task).items()}
        return update


@dataclass(frozen=True)
class CountsInItself(Sound):
    """How often a client has trained is kept in the algorithm instead of the client's memory."""

    times: Counter[int] = field(default_factory=Counter, init=False)

    def train(self, task: Task) -> Update:
        self.times[task.client] += 1
        update = super().train(task)
        return dataclasses.replace(
            update, send={key: w * (1 + 0.1 * self.times[task.client]) for key, w in update.send.items()}
        )


CALLS = itertools.count()


@dataclass(frozen=True)
class DependsOnOrder(Sound):
    """Later calls change their update more."""

    def train(self, task: Task) -> Update:
        update = super().train(task)
        scale = 1 + next(CALLS) / 100
        return dataclasses.replace(update, send={key: scale * w for key, w in update.send.items()})


@dataclass(frozen=True)
class Unseeded(Sound):
    """Noise comes from the global generator."""

    def train(self, task: Task) -> Update:
        update = super().train(task)
        return dataclasses.replace(update, send={key: w + torch.rand_like(w) for key, w in update.send.items()})


@dataclass(frozen=True)
class LeavesFrozen(Sound):
    """The head stays without gradients."""

    def train(self, task: Task) -> Update:
        update = super().train(task)
        task.model[-1].requires_grad_(False)
        return update


@dataclass(frozen=True)
class ChangesReceived(Sound):
    """What the server sent is overwritten."""

    def train(self, task: Task) -> Update:
        for tensor in task.received.values():
            tensor.mul_(0.5)
        return super().train(task)


@dataclass(frozen=True)
class OtherDevice(Sound):
    """A tensor is made on the CPU wherever the model is."""

    def train(self, task: Task) -> Update:
        update = super().train(task)
        return dataclasses.replace(update, send={key: w * torch.ones(w.shape) for key, w in update.send.items()})


@dataclass(frozen=True)
class Fails(Sound):
    """Client 2 always fails."""

    def train(self, task: Task) -> Update:
        if task.client == 2:
            raise KeyError("nothing")
        return super().train(task)


@dataclass(frozen=True)
class NaN(Sound):
    """The model is destroyed."""

    def train(self, task: Task) -> Update:
        update = super().train(task)
        return dataclasses.replace(update, send={key: w * torch.nan for key, w in update.send.items()})


@dataclass(frozen=True)
class WithServer(Sound):
    """An algorithm whose server half is at fault."""

    kind = Average

    def server(self, federation: Federation) -> Server[Any]:
        return self.kind(federation)


class Forgetful(Average):
    """Changes the state that it is given."""

    def aggregate(self, state: ServerState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ServerState]:
        done = super().aggregate(state, round, sent)
        for tensor in state.shared.values():
            tensor.zero_()
        return done


class Greedy(Average):
    """Holds on to the memory of messages."""

    def aggregate(self, state: ServerState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ServerState]:
        return Aggregated(ServerState(dict(next(iter(sent.values())).tensors)))


@dataclass(frozen=True)
class Unkept(ServerState):
    """Holds a function, which no file can."""

    rule: Any = max


class Unkeeping(Average):
    """Has a state that no file can hold."""

    def init(self) -> ServerState:
        return Unkept(self.federation.initial)

    def aggregate(self, state: ServerState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ServerState]:
        return Aggregated(Unkept(super().aggregate(state, round, sent).state.shared))


class Counting(Average):
    """Answers a question differently each time."""

    def send_to(self, state: ServerState, client: int, round: int, purpose: str) -> State:
        return {"weights/count": torch.tensor(next(CALLS))}


@dataclass(frozen=True)
class ForgetfulServer(WithServer):
    """See Forgetful."""

    kind = Forgetful


@dataclass(frozen=True)
class GreedyServer(WithServer):
    """See Greedy."""

    kind = Greedy


@dataclass(frozen=True)
class UnkeepingServer(WithServer):
    """See Unkeeping."""

    kind = Unkeeping


@dataclass(frozen=True)
class CountingServer(WithServer):
    """See Counting."""

    kind = Counting


@dataclass(frozen=True)
class SendsNorms(Algorithm):
    """Copies of BatchNorm layers leave although the policy keeps them at home."""

    sends = ("weights", "norms")
    reveals = ("norms",)

    def train(self, task: Task) -> Update:
        update = super().train(task)
        return dataclasses.replace(update, send=update.send | {f"norms/{k}": w for k, w in task.personal().items()})


@dataclass
class Thawed(Algorithm):
    """A dataclass that is not frozen."""
