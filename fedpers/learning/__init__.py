"""How clients learn besides plain SGD: optimizers, schedules, augmented batches; and when that is enough."""

from fedpers.learning.augment import Augment
from fedpers.learning.early_stop import EarlyStop
from fedpers.learning.optimizers import Optimizer
from fedpers.learning.recipe import Recipe
from fedpers.learning.schedules import Schedule

__all__ = ["Augment", "EarlyStop", "Optimizer", "Recipe", "Schedule"]
