"""Natural clients: every sample belongs to whoever made it, e.g. the writers of FEMNIST."""

from dataclasses import dataclass

import numpy as np

from fedpers import seeds
from fedpers.data.partitions.base import Indices, Partition
from fedpers.errors import UserError


@dataclass(frozen=True)
class Natural(Partition):
    """A client is an owner that the dataset names, or several of them together.

    `flwr_datasets` has a partitioner by id; it looks through the whole table once for each client, which takes hours
    for thousands of writers. This one sorts once.

    Args:
        num_clients: Number of clients; None for as many as there are. Otherwise a random choice of them.
        owners_per_client: Owners whose samples one client holds.
    """

    num_clients: int | None  # type: ignore[assignment]
    owners_per_client: int

    def __post_init__(self) -> None:
        """Check the counts."""
        if self.owners_per_client < 1:
            raise UserError(
                f"partition.owners_per_client={self.owners_per_client} is not possible. Accepted: at least 1"
            )
        if self.num_clients is not None:
            super().__post_init__()

    def assign(self, labels: Indices, seed: int, owners: Indices | None = None) -> list[Indices]:
        """Return the samples of each client; of owners with too few samples none is a client.

        Raises:
            UserError: the dataset names no owners, or too few of them have enough samples.
        """
        if owners is None:
            raise UserError(
                "partition=natural: the dataset does not say whose its samples are. Accepted: a dataset that does, "
                "or another partition"
            )
        order = seeds.numpy_generator(seed, "partition").permutation(len(labels))[: self.max_samples]
        kept = np.sort(order)
        by_owner = kept[np.argsort(owners[kept], kind="stable")]
        starts = np.flatnonzero(np.diff(owners[by_owner], prepend=-1))
        shares = [np.sort(share) for share in np.split(by_owner, starts[1:])]
        if self.owners_per_client > 1:
            shares = self._together(shares, seed)
        large = [share for share in shares if len(share) >= self.min_samples]
        wanted = len(large) if self.num_clients is None else self.num_clients
        if not 1 <= wanted <= len(large):
            raise UserError(
                f"partition.num_clients={self.num_clients}: {len(large)} of {len(shares)} natural clients hold at "
                f"least partition.min_samples={self.min_samples} samples. Accepted: at most {len(large)}, or null for "
                "all of them"
            )
        if wanted < len(large):
            chosen = seeds.numpy_generator(seed, "partitioner").choice(len(large), wanted, replace=False)
            large = [large[number] for number in sorted(chosen)]
        return large

    def _together(self, shares: list[Indices], seed: int) -> list[Indices]:
        """Put the samples of several owners together, in random company; the last client may have fewer owners."""
        order = seeds.numpy_generator(seed, "owners").permutation(len(shares))
        groups = np.split(order, range(self.owners_per_client, len(order), self.owners_per_client))
        return [np.sort(np.concatenate([shares[number] for number in group])) for group in groups]
