"""Runs that end when they learn nothing more."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedpers.errors import Refusing


@dataclass(frozen=True)
class EarlyStop(Refusing):
    """End a run when the mean validation accuracy over clients has not risen for a while.

    It is a function of what has been measured, so that a run that goes on ends where it would have.

    Args:
        patience: Evaluations without a rise after which the run ends.
        min_delta: What counts as a rise of the best accuracy so far, in [0, 1).
    """

    group = "early_stop"

    patience: int
    min_delta: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("patience", self.patience >= 1, "a whole number of at least 1")
        self.require("min_delta", 0 <= self.min_delta < 1, "a number in [0, 1)")

    def is_due(self, accuracies: Sequence[float]) -> bool:
        """Tell whether it is time to end, from the accuracies after all evaluations so far, in order."""
        best, since = float("-inf"), 0
        for accuracy in accuracies:
            best, since = (accuracy, 0) if accuracy > best + self.min_delta else (best, since + 1)
        return since >= self.patience
