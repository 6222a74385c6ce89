"""Rules that look at each client's update as a whole, by its distance from the others': Krum and geometric median.

Blanchard, El Mhamdi, Guerraoui and Stainer, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
NeurIPS 2017 (Krum, Multi-Krum); Pillutla, Kakade and Harchaoui, "Robust Aggregation for Federated Learning", IEEE
Transactions on Signal Processing 2022, https://arxiv.org/abs/1912.13445, Algorithm 2 (smoothed Weiszfeld).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedpers.aggregation.base import Aggregation, moves
from fedpers.task import State


@dataclass(frozen=True)
class Krum(Aggregation):
    """Keep the updates that are nearest to their neighbours, and average them as the algorithm would.

    A client's score is the sum of its squared distances to its n - f - 2 nearest neighbours, at least one, where f is
    the number of attackers.

    Args:
        attackers: The share of clients that are taken for attackers: f is this share of the n that were heard, rounded
            up.
        keep: Updates that are kept; None for all but f (Multi-Krum); 1 is Krum.
    """

    attackers: float
    keep: int | None

    def __post_init__(self) -> None:
        """Check ranges."""
        self.require("attackers", 0 <= self.attackers < 0.5, "a share in [0, 0.5)")
        self.require("keep", self.keep is None or self.keep >= 1, "at least 1, or null")

    def combine(self, states: Sequence[State], weights: Sequence[float] | None, start: Mapping[str, Tensor]) -> State:
        """Return the mean of those that are kept."""
        n = len(states)
        f = math.ceil(self.attackers * n - 1e-9)
        kept = nearest(moves(states, start), max(1, n - f - 2), min(n, self.keep or max(1, n - f)))
        total = sum(weights[i] for i in kept) if weights else 0.0
        shares = [weights[i] / total for i in kept] if weights else None
        return super().combine([states[i] for i in kept], shares, start)


def nearest(vectors: Tensor, neighbours: int, keep: int) -> list[int]:
    """Return the positions of the vectors (n, d) that are nearest to their neighbours, in ascending order."""
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist").square()
    ordered = distances.sort(1).values[:, 1 : neighbours + 1]  # the first is a vector's own
    return sorted(ordered.sum(1).argsort(stable=True)[:keep].tolist())


@dataclass(frozen=True)
class GeometricMedian(Aggregation):
    """The point whose weighted sum of distances to all updates is smallest.

    Args:
        iterations: Steps of Weiszfeld's algorithm.
        smoothing: The smallest distance ν that counts as one.
    """

    iterations: int
    smoothing: float

    def __post_init__(self) -> None:
        """Check ranges."""
        self.require("iterations", self.iterations >= 1, "at least 1")
        self.require("smoothing", self.smoothing > 0, "above 0")

    def combine(self, states: Sequence[State], weights: Sequence[float] | None, start: Mapping[str, Tensor]) -> State:
        """Return the mean with the weights that the last step has found."""
        vectors = moves(states, start)
        alpha = torch.tensor(weights or [1 / len(states)] * len(states), dtype=torch.float64)
        beta = alpha
        for _ in range(self.iterations):
            distances = (vectors - beta @ vectors).norm(dim=1).clamp_min(self.smoothing)
            beta = alpha / distances
            beta = beta / beta.sum()
        return super().combine(states, beta.tolist(), start)
