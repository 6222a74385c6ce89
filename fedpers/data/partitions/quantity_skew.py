"""Quantity skew: clients draw from the same distribution, but not equally many samples."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fedpers import seeds
from fedpers.data.partitions.base import Indices, Partition, Partitioner, partitioners
from fedpers.errors import UserError


@dataclass(frozen=True)
class QuantityLaw(Partitioner):
    """Client k holds samples in proportion to k, to its square or to its exponential, as in `flwr_datasets`.

    Args:
        law: How sizes grow from client to client.
    """

    law: Literal["linear", "square", "exponential"]

    def partitioner(self, labels: Indices, seed: int) -> Any:
        """Return the partitioner of the law."""
        return getattr(partitioners(), f"{self.law.capitalize()}Partitioner")(num_partitions=self.num_clients)


@dataclass(frozen=True)
class QuantityDirichlet(Partition):
    """Clients' shares of the samples are drawn from a Dirichlet distribution.

    Li et al., "Federated Learning on Non-IID Data Silos" (ICDE 2022, https://arxiv.org/abs/2102.02079), section 3.3.
    `flwr_datasets` has no such partitioner. Every client is given `min_samples` first, so that none is too small.

    Args:
        alpha: Concentration; the smaller, the more uneven the sizes.
    """

    alpha: float

    def __post_init__(self) -> None:
        """Check the concentration."""
        super().__post_init__()
        if not 0 < self.alpha < float("inf"):
            raise UserError(f"partition.alpha={self.alpha} is not possible. Accepted: a number above 0")

    def divide(self, labels: Indices, seed: int) -> list[Indices]:
        """Cut the samples, whose order is random, at random places."""
        generator = seeds.numpy_generator(seed, "partitioner")
        shares = generator.dirichlet(np.full(self.num_clients, self.alpha))
        spare = len(labels) - self.num_clients * self.min_samples
        ends = np.floor(np.cumsum(shares) * spare).astype(np.int64)
        ends[-1] = spare
        ends += self.min_samples * np.arange(1, self.num_clients + 1)
        return np.split(np.arange(len(labels)), ends[:-1])
