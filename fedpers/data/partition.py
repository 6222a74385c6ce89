"""Who holds which sample: `flwr_datasets` partitioners over labels, checked so that no client comes out empty."""

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


def _partitioners() -> ModuleType:
    """Import `flwr_datasets` when a partition is made: it takes seconds, and prepared data need none of it."""
    return importlib.import_module("flwr_datasets.partitioner")


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

    def partitioner(self, labels: Indices, seed: int) -> Any:
        """Return a new `flwr_datasets` partitioner; one that served before would answer for old data."""
        raise NotImplementedError

    def assign(self, labels: Indices, seed: int) -> list[Indices]:
        """Return each client's sample indices; no sample is used twice.

        Args:
            labels: (N,) labels of the whole dataset.
            seed: The run's seed.

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
        from datasets import Dataset

        table = Dataset.from_dict({"label": labels[order]})
        partitioner = self.partitioner(labels[order], seeds.derive(seed, "partitioner") % 2**32)
        partitioner.dataset = table.add_column("index", order)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of every try that was not the last
                parts = [partitioner.load_partition(i)["index"] for i in range(self.num_clients)]
        except ValueError as error:
            raise UserError(
                f"the partition could not be made: {error}\nAccepted: fewer clients (partition.num_clients="
                f"{self.num_clients}), a smaller minimum (partition.min_samples={self.min_samples}) or, for dirichlet, "
                "a larger partition.alpha; partition=inner_dirichlet draws for each client and never fails so"
            ) from error
        shares = [np.sort(np.asarray(part, dtype=np.int64)) for part in parts]
        smallest = min(len(share) for share in shares)
        if smallest < self.min_samples:
            raise UserError(
                f"a client would hold {smallest} samples, fewer than partition.min_samples={self.min_samples}. "
                f"Accepted: fewer clients (partition.num_clients={self.num_clients}) or a smaller minimum"
            )
        return shares


@dataclass(frozen=True)
class Iid(Partition):
    """Every client draws from the whole dataset, all of them equally many samples."""

    def partitioner(self, labels: Indices, seed: int) -> Any:
        """Return the IID partitioner; the samples were shuffled before."""
        return _partitioners().IidPartitioner(num_partitions=self.num_clients)


@dataclass(frozen=True)
class Dirichlet(Partition):
    """Each class is divided over the clients by proportions drawn from a Dirichlet distribution.

    Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks" (ICML 2019,
    https://arxiv.org/abs/1905.12022), as implemented in `flwr_datasets`.

    Args:
        alpha: Concentration; the smaller, the fewer classes a client holds.
    """

    alpha: float

    def __post_init__(self) -> None:
        """Check the concentration."""
        super().__post_init__()
        if not 0 < self.alpha < float("inf"):
            raise UserError(f"partition.alpha={self.alpha} is not possible. Accepted: a number above 0")

    def partitioner(self, labels: Indices, seed: int) -> Any:
        """Return the Dirichlet partitioner, which tries a bounded number of times to satisfy the minimum."""
        return _partitioners().DirichletPartitioner(
            num_partitions=self.num_clients,
            partition_by="label",
            alpha=self.alpha,
            min_partition_size=self.min_samples,
            seed=seed,
        )


@dataclass(frozen=True)
class InnerDirichlet(Dirichlet):
    """Every client holds equally many samples, of classes in proportions that it draws from a Dirichlet distribution.

    Acar et al., "Federated Learning Based on Dynamic Regularization" (ICLR 2021, https://arxiv.org/abs/2111.04263), as
    implemented in `flwr_datasets`. Unlike `Dirichlet` it never fails for many clients with a small alpha.

    Args:
        samples_per_client: Samples of each client; None shares all of them evenly.
    """

    samples_per_client: int | None

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
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
        return _partitioners().InnerDirichletPartitioner(
            partition_sizes=[size] * self.num_clients, partition_by="label", alpha=self.alpha, seed=seed
        )


@dataclass(frozen=True)
class Pathological(Partition):
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
        return _partitioners().PathologicalPartitioner(
            num_partitions=self.num_clients,
            partition_by="label",
            num_classes_per_partition=self.classes_per_client,
            class_assignment_mode="first-deterministic",
            seed=seed,
        )
