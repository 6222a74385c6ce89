"""Terms over a model's weights: μ/2 ‖w − anchor‖² pulls each back by μ (w − anchor), ⟨c, w⟩ adds c to the gradient."""

from torch import Tensor, nn

from fedpers.algorithm import State


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


def inner_product(model: nn.Module, constants: State) -> Tensor:
    """Return ⟨c, w⟩ over the parameters that `constants` names, as a scalar whose gradient for w is c."""
    product = next(model.parameters()).new_zeros(())
    for name, constant in constants.items():
        product = product + (model.get_parameter(name) * constant).sum()
    return product
