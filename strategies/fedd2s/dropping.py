"""When the next cut leaves the federation."""

from dataclasses import dataclass


def scheduled_cut(cuts: tuple[int, ...], interval: int, round: int) -> int:
    """Return the cut that is active in a round, counted from 1, when one is dropped every `interval` rounds."""
    return cuts[min((round - 1) // interval, len(cuts) - 1)]


@dataclass
class AdaptiveDropping:
    """Drops a cut when the validation accuracy has stopped rising.

    Args:
        cuts: From the first to the last.
        patience: Rounds without a rise after which the next cut becomes active.
        min_delta: What counts as a rise.
    """

    cuts: tuple[int, ...]
    patience: int
    min_delta: float
    index: int = 0
    best: float = float("-inf")
    best_round: int = 0

    @property
    def cut(self) -> int:
        """The active cut."""
        return self.cuts[self.index]

    def observe(self, round: int, accuracy: float) -> None:
        """Take note of the mean validation accuracy after a round."""
        if accuracy > self.best and accuracy >= self.best + self.min_delta:
            self.best, self.best_round = accuracy, round
        elif round - self.best_round >= self.patience and self.index < len(self.cuts) - 1:
            self.index += 1
            self.best, self.best_round = accuracy, round
