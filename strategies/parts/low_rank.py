"""Changes of weights in low rank: what a client sends instead of its weights, and the server that adds it up.

Matrices are factored by their singular values, Eckart and Young, "The approximation of one matrix by another of lower
rank", 1936: no matrix of that rank is nearer.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from fedpers.algorithm import Aggregated, Average, Sent, ServerState, State

LEFT, RIGHT = "weights/left/", "weights/right/"

RANKS = MappingProxyType({LEFT: (1,), RIGHT: (0,)})
"""The axes of factors that are as long as a client's change has rank: an algorithm's `varies`."""


def compress(after: State, before: State, energy: float) -> State:
    """Return what stands for the weights `after` where `before` is known: factors of what has changed, or the weights.

    Args:
        after: Weights by name.
        before: The same ones before training.
        energy: Share of the squared singular values of each change that is kept; at 1 all weights stand for themselves.
    """
    state: State = {}
    for key, weight in after.items():
        if weight.dim() > 1 and energy < 1:
            state[LEFT + key], state[RIGHT + key] = low_rank((weight - before[key]).flatten(1), energy)
        else:
            state[key] = weight
    return state


def low_rank(matrix: Tensor, energy: float) -> tuple[Tensor, Tensor]:
    """Return U_K Σ_K (m, K) and V_Kᵀ (K, n) of a matrix (m, n).

    Where that would not be less to send, and where numbers are not finite, it is the matrix itself and nothing.
    """
    if matrix.isfinite().all():
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        shares = s.square().cumsum(0)
        rank = int((shares < energy * shares[-1]).sum()) + 1
        if rank * sum(matrix.shape) < matrix.numel():
            return u[:, :rank] * s[:rank], vh[:rank]
    return matrix, matrix.new_zeros(0, matrix.shape[1])


def expand(left: Tensor, right: Tensor) -> Tensor:
    """Return the matrix (m, n) that `low_rank` made two factors of."""
    return left @ right if len(right) else left


class LowRankServer(Average):
    """Averages what clients sent once their factors are added to the weights that they had been sent."""

    def aggregate(self, state: ServerState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ServerState]:
        """Return the mean of the clients' weights."""

        def weights(tensors: State) -> State:
            return {
                key: tensors[key]
                if key in tensors
                else w + expand(tensors[LEFT + key], tensors[RIGHT + key]).view_as(w)
                for key, w in state.shared.items()
            }

        return Aggregated(ServerState(self.federation.average(round, sent, state.shared, weights)))
