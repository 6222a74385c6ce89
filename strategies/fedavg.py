"""FedAvg: one model for all, the average of what clients made of it.

McMahan, Moore, Ramage, Hampson and Agüera y Arcas, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", AISTATS 2017, https://arxiv.org/abs/1602.05629, Algorithm 1.

    ClientUpdate:  w_k ← w_t after E epochs of SGD on CE(f(x; w), y)
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients, n = Σ_k n_k

The personal model is the global one. With `finetune_epochs` above 0 the column `finetuned` is FedAvg + fine-tuning.

Deviation: the n_k are those of the sampled clients, as in all implementations (the paper's listing divides by all
clients' samples).
"""

from dataclasses import dataclass

from fedpers.algorithm import Algorithm


@dataclass(frozen=True)
class FedAvg(Algorithm):
    """Everything is shared and averaged: the defaults of `Algorithm`."""
