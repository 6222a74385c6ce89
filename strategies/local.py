"""Local: every client trains alone. The bar that every federation has to clear.

    w_k ← w_k − η ∇ CE(f(x; w_k), y)

Nothing is sent in either direction; all clients start from the same initial weights.
"""

from dataclasses import dataclass

from strategies.base import Algorithm


@dataclass(frozen=True)
class Local(Algorithm):
    """The whole model stays with its client."""

    def is_personal(self, key: str) -> bool:
        """Keep everything."""
        return True
