"""FedD2S with few numbers: the algorithm of the YAML file, a head on one value, a server half, one sample."""

import torch
from by_hand import Half, federation, from_yaml
from torch import nn

from fedpers.training import Split
from strategies.fedd2s import FedD2S
from strategies.parts.heads import make_head

KNOWLEDGE = ["strategy=fedd2s", "strategy.share=knowledge", "strategy.vote=0.0"]
"""FedD2S without what we added: no shared weights, no vote."""

ONE = Split(torch.tensor([[1.0]]), torch.tensor([0]))


def make(**changes: object) -> FedD2S:
    """Build FedD2S with knowledge alone and the defaults of its YAML file but for some changes."""
    algorithm = from_yaml("fedd2s", **({"share": "knowledge", "vote": 0.0} | changes))
    assert isinstance(algorithm, FedD2S)
    return algorithm


def head_with(weights: tuple[float, float]) -> nn.Sequential:
    """Return a head on a scalar that computes relu(z) times two weights."""
    head = make_head(1, 1, 2)
    values = {
        "hidden.weight": [[1.0]],
        "hidden.bias": [0.0],
        "logits.weight": [[w] for w in weights],
        "logits.bias": [0.0, 0.0],
    }
    head.load_state_dict({key: torch.tensor(value) for key, value in values.items()})
    return head.requires_grad_(False)


def server(**changes: object) -> Half:
    """Return the server half, with its state, in a federation of four clients."""
    return Half(make(**changes).server(federation()))
