"""All that a client's training follows besides the algorithm, as one thing that a worker makes once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedpers.config.keys import Config
from fedpers.learning.augment import Augment
from fedpers.learning.optimizers import Optimizer
from fedpers.learning.schedules import Schedule
from fedpers.training import sgd


@dataclass(frozen=True)
class Recipe:
    """How clients train.

    Args:
        optimizer: The optimizer; None for plain SGD, which begins afresh in every training.
        schedule: The learning rate over rounds; None for the same in all.
        augment: What becomes of training images; None for what they are.
    """

    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    augment: Augment | None = None

    def lr(self, config: Config, round: int) -> float:
        """Return the learning rate of a round."""
        return config.lr * self.schedule.factor(round, config.rounds) if self.schedule else config.lr

    def make(self, parameters: Sequence[Tensor], config: Config, round: int) -> torch.optim.Optimizer:
        """Return the optimizer of some parameters in a round."""
        lr = self.lr(config, round)
        if self.optimizer:
            return self.optimizer.make(parameters, lr, config)
        return sgd(parameters, lr, config.momentum, config.weight_decay)

    @property
    def keeps(self) -> bool:
        """Whether the optimizer goes on with what it remembered."""
        return self.optimizer is not None and self.optimizer.keep


PLAIN = Recipe()
"""SGD at one learning rate, on images as they are."""
