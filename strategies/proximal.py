"""The proximal term that keeps a model near another one: μ/2 ‖w − anchor‖² pulls each weight back by μ (w − anchor)."""

from torch import Tensor, nn

from fedpers.client import State


def half_squared_distance(model: nn.Module, anchor: State) -> Tensor:
    """Return 1/2 ‖w − anchor‖² over the parameters that `anchor` names, as a scalar with a gradient for w.

    Args:
        model: Has a parameter of each name in `anchor`.
        anchor: Constants by the names of parameters; buffers have no place here.
    """
    distance = next(model.parameters()).new_zeros(())
    for name, constant in anchor.items():
        distance = distance + (model.get_parameter(name) - constant).square().sum()
    return distance / 2
