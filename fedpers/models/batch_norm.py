"""BatchNorm under an explicit policy (`batch_norm=aggregate|local|reset`), whatever the algorithm.

Averaging running statistics over non-IID clients, keeping them, or re-estimating them give different models; most
published code does one of them without saying so.
"""

import torch
from torch import nn

from fedpers.training import Split

_BatchNorm = nn.modules.batchnorm._BatchNorm


def layer_keys(model: nn.Module) -> frozenset[str]:
    """Return the state-dictionary keys of every BatchNorm layer: weights, biases and running statistics."""
    layers = ((name, m) for name, m in model.named_modules() if isinstance(m, _BatchNorm))
    return frozenset(f"{name}.{key}" for name, layer in layers for key in layer.state_dict())


def local_keys(model: nn.Module, policy: str) -> frozenset[str]:
    """Return the keys that stay with their client under a policy, whatever the algorithm says."""
    if policy == "aggregate":
        return frozenset()
    keys = layer_keys(model)
    if policy == "local":
        return keys
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return frozenset(key for key in keys if key.endswith(statistics))


@torch.no_grad()
def reestimate_statistics(model: nn.Module, data: Split, batch_size: int) -> None:
    """Replace running statistics by the averages over a client's training data, batch by batch, in order."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative average
    model.eval()
    for layer in layers:
        layer.train()
    for batch in data.in_order(batch_size, min_size=2):
        model(batch.inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
