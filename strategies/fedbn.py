"""FedBN: FedAvg whose clients keep their BatchNorm layers.

Li, Jiang, Zhang, Kamp and Dou, "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization", ICLR
2021, https://arxiv.org/abs/2102.07623, Algorithm 1.

    ClientUpdate:  w_k ← E epochs of SGD on CE from w_t, its BatchNorm layers those of client k
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients, for all other layers

Layers are found by their type: weights, biases and running statistics of every BatchNorm, whatever it is called. The
personal model is the shared layers with the client's own BatchNorm. A client that has never been sampled uses BatchNorm
as initialized. Without BatchNorm (`model.norm=group`, CNNs) this is FedAvg, to the last bit; `batch_norm=local` makes
the same of any algorithm.

Deviations: none known.
"""

from dataclasses import dataclass

from fedpers.algorithm import Algorithm
from fedpers.models.batch_norm import layer_keys
from fedpers.models.staged import Staged


@dataclass(frozen=True)
class FedBN(Algorithm):
    """Everything but BatchNorm is averaged."""

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep every BatchNorm layer."""
        return layer_keys(model)
