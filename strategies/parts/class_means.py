"""What clients know of each class, as one mean a class: how it is made, and the server that remembers it."""

from torch import Tensor

from fedpers.client import State
from fedpers.federation import Federation
from strategies.base import StateServer


def class_averages(values: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the means of values (n, d) over each class.

    Returns:
        A row for each class present, in ascending order (present, d), and the samples of all classes (classes,).
    """
    count = labels.bincount(minlength=num_classes)
    sums = values.new_zeros(len(count), values.shape[1]).index_add_(0, labels, values)
    present = count > 0
    return sums[present] / count[present, None], count


class ClassMeansServer(StateServer):
    """Keeps every client's means by class; of a client that is not sampled, the last ones stand.

    A subclass says what clients are sent.

    Args:
        federation: What the server knows before the first round.
        mean: Wire key of a client's means, a row for each class that it holds.
        count: Wire key of its samples of each class.
    """

    def __init__(self, federation: Federation, mean: str, count: str) -> None:
        """Start without any means: nobody is taught before somebody has answered."""
        super().__init__(federation)
        self.keys = mean, count
        self.means: dict[int, tuple[Tensor, Tensor]] = {}

    def aggregate(self, round: int, sent: dict[int, State]) -> State:
        """Put down the means that were sent."""
        mean, count = self.keys
        self.means |= {client: (state[mean], state[count]) for client, state in sent.items()}
        return {}
