"""Local: every client trains alone. The bar that every federation has to clear.

    w_k ← w_k − η ∇ CE(f(x; w_k), y)

Nothing is sent in either direction; all clients start from the same initial weights.
"""

from dataclasses import dataclass

from fedpers.algorithm import Algorithm
from fedpers.models.staged import Staged
from strategies.parts.personal_layers import all_keys


@dataclass(frozen=True)
class Local(Algorithm):
    """The whole model stays with its client."""

    averages = False

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep everything."""
        return all_keys(model)
