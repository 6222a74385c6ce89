"""How clients learn besides plain SGD: optimizers, schedules of their learning rate, augmented batches."""

from fedpers.learning.augment import Augment
from fedpers.learning.optimizers import Optimizer
from fedpers.learning.recipe import Recipe
from fedpers.learning.schedules import Schedule

__all__ = ["Augment", "Optimizer", "Recipe", "Schedule"]
