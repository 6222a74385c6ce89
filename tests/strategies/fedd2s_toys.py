"""FedD2S with few numbers: the algorithm of the YAML file, a head on one value, a server, one sample."""

from collections.abc import Callable

import torch
from by_hand import from_yaml
from torch import nn
from toys import three_parameters

from fedpers.config import Config
from fedpers.federation import Federation
from fedpers.training import Split
from strategies.fedd2s import FedD2S
from strategies.fedd2s.server import HeadServer, make_head

ONE = Split(torch.tensor([[1.0]]), torch.tensor([0]))


def make(**changes: object) -> FedD2S:
    """Build FedD2S with the defaults of its YAML file but for some changes."""
    algorithm = from_yaml("fedd2s", **changes)
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


def server(config: Callable[..., Config], algorithm: FedD2S) -> HeadServer:
    """Return the server half in a federation of one client."""
    federation = Federation(config(), {0: 1}, 2, (1, 1, 1), three_parameters, {})
    return algorithm.server(federation)
