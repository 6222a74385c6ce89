"""Label skew: clients hold the classes in different proportions."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpers.data.partitions.base import Indices, Partitioner, partitioners
from fedpers.errors import UserError


def _check_concentration(alpha: float) -> None:
    if not 0 < alpha < float("inf"):
        raise UserError(f"partition.alpha={alpha} is not possible. Accepted: a number above 0")


@dataclass(frozen=True)
class Dirichlet(Partitioner):
    """Each class is divided over the clients by proportions drawn from a Dirichlet distribution.

    Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks" (ICML 2019,
    https://arxiv.org/abs/1905.12022), as implemented in `flwr_datasets`.

    Args:
        alpha: Concentration; the smaller, the fewer classes a client holds.
        balanced: Give no more samples of a class to clients that have an even share already, so that sizes differ less.
    """

    alpha: float
    balanced: bool

    def __post_init__(self) -> None:
        """Check the concentration."""
        super().__post_init__()
        _check_concentration(self.alpha)

    def partitioner(self, labels: Indices, seed: int) -> Any:
        """Return the Dirichlet partitioner, which tries a bounded number of times to satisfy the minimum."""
        return partitioners().DirichletPartitioner(
            num_partitions=self.num_clients,
            partition_by="label",
            alpha=self.alpha,
            min_partition_size=self.min_samples,
            self_balancing=self.balanced,
            seed=seed,
        )


@dataclass(frozen=True)
class InnerDirichlet(Partitioner):
    """Every client holds equally many samples, of classes in proportions that it draws from a Dirichlet distribution.

    Acar et al., "Federated Learning Based on Dynamic Regularization" (ICLR 2021, https://arxiv.org/abs/2111.04263), as
    implemented in `flwr_datasets`. Unlike `Dirichlet` it never fails for many clients with a small alpha.

    Args:
        alpha: Concentration; the smaller, the fewer classes a client holds.
        samples_per_client: Samples of each client; None shares all of them evenly.
    """

    alpha: float
    samples_per_client: int | None

    def __post_init__(self) -> None:
        """Check the concentration and the sizes."""
        super().__post_init__()
        _check_concentration(self.alpha)
        if self.samples_per_client is not None and self.samples_per_client < self.min_samples:
            raise UserError(
                f"partition.samples_per_client={self.samples_per_client} is not possible. Accepted: at least "
                f"partition.min_samples={self.min_samples}"
            )

    def partitioner(self, labels: Indices, seed: int) -> Any:
        """Return the inner Dirichlet partitioner."""
        size = self.samples_per_client or len(labels) // self.num_clients
        if size * self.num_clients > len(labels):
            raise UserError(
                f"partition.samples_per_client={size} for {self.num_clients} clients are more samples than the "
                f"{len(labels)} that there are. Accepted: at most {len(labels) // self.num_clients}"
            )
        return partitioners().InnerDirichletPartitioner(
            partition_sizes=[size] * self.num_clients, partition_by="label", alpha=self.alpha, seed=seed
        )


@dataclass(frozen=True)
class Pathological(Partitioner):
    """Every client holds samples of a fixed number of classes.

    McMahan et al. (AISTATS 2017, https://arxiv.org/abs/1602.05629) and Li et al., "Federated Learning on Non-IID Data
    Silos" (ICDE 2022, https://arxiv.org/abs/2102.02079), as implemented in `flwr_datasets`: the first class of each
    client goes round, the others are drawn.

    Args:
        classes_per_client: Number of classes that each client holds.
    """

    classes_per_client: int

    def partitioner(self, labels: Indices, seed: int) -> Any:
        """Return the pathological partitioner."""
        present = len(np.unique(labels))
        if not 1 <= self.classes_per_client <= present:
            raise UserError(
                f"partition.classes_per_client={self.classes_per_client} is not possible. Accepted: 1 to {present}, "
                "the number of classes in the data"
            )
        return partitioners().PathologicalPartitioner(
            num_partitions=self.num_clients,
            partition_by="label",
            num_classes_per_partition=self.classes_per_client,
            class_assignment_mode="first-deterministic",
            seed=seed,
        )


@dataclass(frozen=True)
class ClassShards(Partitioner):
    """The samples, sorted by class, are cut into shards of equal size, and every client draws some of them.

    McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data" (AISTATS 2017,
    https://arxiv.org/abs/1602.05629), as implemented in `flwr_datasets`.

    Args:
        shards_per_client: Shards of each client.
    """

    shards_per_client: int

    def partitioner(self, labels: Indices, seed: int) -> Any:
        """Return the shard partitioner."""
        most = len(labels) // self.num_clients
        if not 1 <= self.shards_per_client <= most:
            raise UserError(
                f"partition.shards_per_client={self.shards_per_client} is not possible for {self.num_clients} clients "
                f"and {len(labels)} samples. Accepted: 1 to {most}"
            )
        return partitioners().ShardPartitioner(
            num_partitions=self.num_clients,
            partition_by="label",
            num_shards_per_partition=self.shards_per_client,
            seed=seed,
        )
