"""The usual attacks on federated averaging, of any kind of tensor that a client sends.

Label flipping: Tolpegin et al., "Data Poisoning Attacks Against Federated Learning Systems", ESORICS 2020,
https://arxiv.org/abs/2007.08432. Sign flipping and Gaussian noise: Li et al., "RSA: Byzantine-Robust Stochastic
Aggregation Methods", AAAI 2019, https://arxiv.org/abs/1811.03761, section 5. Scaling: Bagdasaryan et al., "How To
Backdoor Federated Learning", AISTATS 2020, https://arxiv.org/abs/1807.00459, section 4.2, without the backdoor.
"""

import dataclasses
from dataclasses import dataclass

import torch

from fedpers.attacks.base import Attack, changed
from fedpers.task import State, Task
from fedpers.training import Split


@dataclass(frozen=True)
class LabelFlip(Attack):
    """Attackers learn that a sample of class y is of class C - 1 - y."""

    def before(self, task: Task) -> Task:
        """Return the task with other labels."""
        data, train = task.data, task.data.train
        flipped = Split(train.inputs, data.num_classes - 1 - train.labels)
        return dataclasses.replace(task, data=data.with_train(flipped))


@dataclass(frozen=True)
class SignFlip(Attack):
    """Attackers send the opposite of what they have learnt.

    Args:
        factor: How much farther they go that way.
    """

    factor: float

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        self.require("factor", self.factor > 0, "above 0")

    def after(self, task: Task, sent: State) -> State:
        """Return the update turned round."""
        return changed(task, sent, lambda update: -self.factor * update)


@dataclass(frozen=True)
class Gaussian(Attack):
    """Attackers send noise in the place of what they have learnt.

    Args:
        std: Its standard deviation.
    """

    std: float

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        self.require("std", self.std > 0, "above 0")

    def after(self, task: Task, sent: State) -> State:
        """Return noise around what the client was sent."""
        stream = task.generator("attack")
        return changed(task, sent, lambda update: self.std * torch.randn(update.shape, generator=stream).to(update))


@dataclass(frozen=True)
class Scaled(Attack):
    """Attackers send more of what they have learnt than there is, so that the mean becomes theirs.

    Args:
        factor: How much more; as many as are sampled replace the mean, if others hardly move.
    """

    factor: float

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        self.require("factor", self.factor > 0, "above 0")

    def after(self, task: Task, sent: State) -> State:
        """Return a longer update."""
        return changed(task, sent, lambda update: self.factor * update)


@dataclass(frozen=True)
class NotANumber(Attack):
    """Attackers send NaN, which the server takes for the failure that it is."""

    def after(self, task: Task, sent: State) -> State:
        """Return what is no number."""
        return changed(task, sent, lambda update: torch.full_like(update, torch.nan))
