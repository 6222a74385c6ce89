"""What clients know of each class, as one mean a class: how it is made, and the server that remembers it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from fedpers import seeds
from fedpers.algorithm import Sent, Server, ServerState


def class_averages(values: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the means of values (n, d) over each class.

    Returns:
        A row for each class present, in ascending order (present, d), and the samples of all classes (classes,).
    """
    count = labels.bincount(minlength=num_classes)
    sums = values.new_zeros(len(count), values.shape[1]).index_add_(0, labels, values)
    present = count > 0
    return sums[present] / count[present, None], count


def of_every_class(mean: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return means with a row of zeros for each class without samples, and counts of 1: which there are does not show.

    So a client sends its means under `privacy`, which adds noise to every row, or to the mean over clients.

    Args:
        mean: (present, d), in ascending order of the classes.
        count: (classes,).
    """
    return spread(mean, count.nonzero().flatten(), len(count)), count.new_ones(len(count))


def spread(rows: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """Return a row for every class (num_classes, d): those of `classes` (n,) from `rows` (n, d), the others zeros."""
    return rows.new_zeros(num_classes, rows.shape[1]).index_copy_(0, classes, rows)


def fault_in_means(sent: Mapping[str, Tensor], mean: str, count: str) -> str:
    """Return what makes a client's means impossible; empty: nothing.

    Args:
        sent: What the client sent.
        mean: Wire key of its means; without them, there is no fault in them.
        count: Wire key of its samples of each class.
    """
    if mean not in sent:
        return ""
    present = int((sent[count] > 0).sum())
    if len(sent[mean]) != present:
        return f"it sends {len(sent[mean])} means and counts samples of {present} classes"
    return ""


@dataclass(frozen=True)
class Means:
    """A client's means by class.

    Args:
        mean: (present, d), a row for each class that it holds, in ascending order.
        count: (classes,) its samples of each class.
    """

    mean: Tensor
    count: Tensor

    def beside(self, earlier: "Means") -> "Means":
        """Return these means and, of classes of which there are none, earlier ones."""
        held = self.count > 0
        rows = spread(earlier.mean, earlier.count.nonzero().flatten(), len(earlier.count))
        rows[held] = self.mean
        count = self.count.where(held, earlier.count)
        return Means(rows[count > 0], count)


@dataclass(frozen=True)
class MeansState(ServerState):
    """What a server remembers of clients' means.

    Args:
        shared: What every client is sent.
        means: Every client's last means, by client in ascending order.
    """

    means: dict[int, Means]


M = TypeVar("M", bound=MeansState)


@dataclass(frozen=True)
class ClassMeansServer(Server[M]):
    """Remembers every client's means by class; of a client that is not sampled, the last ones stand.

    A subclass says what clients are sent.

    Args:
        mean: Wire key of a client's means.
        count: Wire key of its samples of each class.
    """

    mean: str
    count: str

    def put_down(self, state: M, round: int, sent: Mapping[int, Sent]) -> dict[int, Means]:
        """Return all known means, the new ones among them; of blurred ones what stands out of the noise.

        With central noise there is one client, the server: of each class the last mean over clients.
        """
        pooled = self.federation.average_by_class(round, sent, lambda tensors: {self.mean: tensors[self.mean]})
        if pooled is None:
            new = {client: self._readable(each.tensors) for client, each in sent.items()}
            return dict(sorted((state.means | new).items()))
        means, classes = pooled
        known = Means(means[self.mean], classes.bincount(minlength=self.federation.num_classes))
        before = state.means.get(seeds.SERVER)
        return {seeds.SERVER: known if before is None else known.beside(before)}

    def _readable(self, tensors: Mapping[str, Tensor]) -> Means:
        mean, count = tensors[self.mean].clone(), tensors[self.count].clone()
        privacy = self.federation.privacy
        if privacy is None:
            return Means(mean, count)
        stands_out = privacy.stands_out(mean)
        return Means(mean[stands_out], count * stands_out)
