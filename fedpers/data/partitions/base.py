"""Who holds which sample: what all partitions have in common, and the even one.

Partitions come from `flwr_datasets` wherever it has one. They are checked: no sample is used twice, no client comes
out empty.
"""

import importlib
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpers import seeds
from fedpers.errors import UserError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """What all partitions have in common.

    Args:
        num_clients: Number of clients.
        min_samples: Fewest samples that a client may hold.
        max_samples: Use a random subset of this many samples of the dataset; None for all of them.
    """

    num_clients: int
    min_samples: int
    max_samples: int | None

    def __post_init__(self) -> None:
        """Check the counts."""
        if self.num_clients < 1:
            raise UserError(f"partition.num_clients={self.num_clients} is not possible. Accepted: at least 1")
        if self.min_samples < 3:
            raise UserError(
                f"partition.min_samples={self.min_samples} is not possible. Accepted: at least 3, one sample "
                "each for training, validation and test"
            )
        if self.max_samples is not None and self.max_samples < 1:
            raise UserError(f"partition.max_samples={self.max_samples} is not possible. Accepted: at least 1")

    def divide(self, labels: Indices, seed: int) -> list[Indices]:
        """Return positions in `labels`, which come in random order, for each client."""
        raise NotImplementedError

    def assign(self, labels: Indices, seed: int, owners: Indices | None = None) -> list[Indices]:
        """Return each client's sample indices in ascending order; no sample is used twice.

        Args:
            labels: (N,) labels of the whole dataset.
            seed: The run's seed.
            owners: (N,) whose sample each is by nature, from 0; None if the dataset does not say.

        Raises:
            UserError: the partition cannot give every client `min_samples` samples.
        """
        order = seeds.numpy_generator(seed, "partition").permutation(len(labels))[: self.max_samples]
        if len(order) < self.num_clients * self.min_samples:
            raise UserError(
                f"partition.num_clients={self.num_clients} needs {self.min_samples} samples each "
                f"(partition.min_samples), but there are {len(order)}. Accepted: at most "
                f"{len(order) // self.min_samples} clients"
            )
        shares = [np.sort(order[positions]) for positions in self.divide(labels[order], seed)]
        smallest = min(len(share) for share in shares)
        if smallest < self.min_samples:
            raise UserError(
                f"a client would hold {smallest} samples, fewer than partition.min_samples={self.min_samples}. "
                f"Accepted: fewer clients (partition.num_clients={self.num_clients}) or a smaller minimum"
            )
        return shares


@dataclass(frozen=True)
class Iid(Partition):
    """Every client draws from the whole dataset, all of them equally many samples (or one more)."""

    def divide(self, labels: Indices, seed: int) -> list[Indices]:
        """Cut the samples, whose order is random, into even parts."""
        return np.array_split(np.arange(len(labels)), self.num_clients)


@dataclass(frozen=True)
class Partitioner(Partition):
    """A partition that `flwr_datasets` makes."""

    def partitioner(self, labels: Indices, seed: int) -> Any:
        """Return a new `flwr_datasets` partitioner; one that served before would answer for old data."""
        raise NotImplementedError

    def divide(self, labels: Indices, seed: int) -> list[Indices]:
        """Let the partitioner divide a table of labels."""
        from datasets import Dataset

        partitioner = self.partitioner(labels, seeds.derive(seed, "partitioner") % 2**32)
        table = Dataset.from_dict({"label": labels})
        partitioner.dataset = table.add_column("index", np.arange(len(labels)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of every try that was not the last
                partitioner.load_partition(0)  # which divides all of the table, and may sort it
            batches = partitioner.dataset.with_format("arrow").iter(10_000)
            index = np.concatenate([batch["index"].to_numpy() for batch in batches])
            partitioner.dataset.select = index.__getitem__  # a table for each client would take a millisecond
            return [partitioner.load_partition(client) for client in range(self.num_clients)]
        except ValueError as error:
            raise UserError(
                f"the partition could not be made: {error}\nAccepted: fewer clients (partition.num_clients="
                f"{self.num_clients}), a smaller minimum (partition.min_samples={self.min_samples}) or, for dirichlet, "
                "a larger partition.alpha; partition=inner_dirichlet draws for each client and never fails so"
            ) from error


def partitioners() -> ModuleType:
    """Import `flwr_datasets` when a partition is made: it takes seconds, and prepared data need none of it."""
    return importlib.import_module("flwr_datasets.partitioner")
