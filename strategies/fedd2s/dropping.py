"""When the next cut leaves the federation."""

from dataclasses import dataclass, replace


def scheduled_cut(cuts: tuple[int, ...], interval: int, round: int) -> int:
    """Return the cut that is active in a round, counted from 1, when one is dropped every `interval` rounds."""
    return cuts[min((round - 1) // interval, len(cuts) - 1)]


@dataclass(frozen=True)
class AdaptiveDropping:
    """How far a cut is dropped whenever the validation accuracy has stopped rising.

    Args:
        index: The active cut's place in the dropping set.
        best: The best accuracy since it became active.
        best_round: The round in which that was reached.
    """

    index: int = 0
    best: float = float("-inf")
    best_round: int = 0

    def observe(self, round: int, accuracy: float, *, patience: int, min_delta: float, last: int) -> "AdaptiveDropping":
        """Take note of the mean validation accuracy after a round.

        Args:
            round: The round.
            accuracy: The accuracy.
            patience: Rounds without a rise after which the next cut becomes active.
            min_delta: What counts as a rise.
            last: The last cut's place in the dropping set.
        """
        if accuracy > self.best and accuracy >= self.best + min_delta:
            return replace(self, best=accuracy, best_round=round)
        if round - self.best_round >= patience and self.index < last:
            return AdaptiveDropping(self.index + 1, accuracy, round)
        return self
