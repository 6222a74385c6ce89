"""Flower's own server strategies, as they are, with every client's model scored on top.

https://flower.ai/docs/framework/ref-api/flwr.serverapp.strategy.html; each names its paper. Reddi et al., "Adaptive
Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295 (FedAdagrad, FedAdam, FedYogi); Hsu, Qi and Brown,
"Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019,
https://arxiv.org/abs/1909.06335 (FedAvgM); Blanchard et al., "Machine Learning with Adversaries", NeurIPS 2017 (Krum);
Yin et al., "Byzantine-Robust Distributed Learning", ICML 2018, https://arxiv.org/abs/1803.01498 (median, trimmed mean).

Clients are FedAvg's. The personal model is the global one. The one file here that meets Flower: its strategies keep
their state in themselves.

Deviations from Flower: clients are sampled by the run's seed, and replies are aggregated in the order of their clients,
not of their arrival.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg, Strategy

from fedpers.algorithm import Algorithm, Federation, ServerState, State
from fedpers.errors import unknown_name
from fedpers.wire import records
from fedpers.wire.carrier import messages, nothing


@dataclass(frozen=True)
class Flower(Algorithm):
    """One of Flower's strategies that build on its FedAvg.

    Args:
        name: Its class in `flwr.serverapp.strategy`.
        options: Its keyword arguments; sampling is the run's (`participation`).
    """

    averages = False  # Flower's strategy does, in its own way

    name: str
    options: dict[str, Any]

    def __post_init__(self) -> None:
        """Check the name and the options' names."""
        known = {name: kind for name in flower.__all__ if _builds_on_fedavg(kind := getattr(flower, name))}
        if self.name not in known:
            raise unknown_name("strategy.name", self.name, known)
        accepted = [key for key in inspect.signature(known[self.name]).parameters if not key.startswith(_SAMPLING)]
        for key in self.options:
            if key not in accepted:
                raise unknown_name("key strategy.options.", key, accepted)

    def flower_strategy(self, federation: Federation, nodes: Mapping[int, int]) -> Strategy:
        """Return Flower's strategy between an ordering of the replies and a seeded sampling."""
        kind = type(self.name, (Ordered, getattr(flower, self.name), Seeded), {})
        made: Any = kind(fraction_evaluate=0.0, min_available_nodes=1, min_train_nodes=1, **self.options)
        made.bind(federation, nodes)
        strategy: Strategy = made
        return strategy


@dataclass(frozen=True)
class Attribute:
    """One attribute of a Flower strategy.

    Args:
        kind: "record", "dict" or "list": of what it is made.
        arrays: Its arrays, by name or by position.
    """

    kind: str
    arrays: State

    @classmethod
    def of(cls, name: str, value: Any) -> "Attribute":
        """Take an attribute apart.

        Raises:
            TypeError: it is of a kind that is not known here.
        """
        if isinstance(value, ArrayRecord):
            return cls("record", records.from_record(value))
        if isinstance(value, dict):
            return cls("dict", {key: torch.from_numpy(np.array(each)) for key, each in value.items()})
        if isinstance(value, list):
            return cls("list", {str(place): torch.from_numpy(np.array(each)) for place, each in enumerate(value)})
        raise TypeError(f"a Flower strategy's {name} is a {type(value).__name__}, which no file can hold")

    def value(self) -> Any:
        """Put the attribute together again."""
        if self.kind == "record":
            return records.to_record(self.arrays)
        arrays = {key: tensor.numpy() for key, tensor in self.arrays.items()}
        return arrays if self.kind == "dict" else list(arrays.values())


@dataclass(frozen=True)
class FlowerState(ServerState):
    """What a Flower strategy remembers between two rounds.

    Args:
        attributes: Its attributes that have changed since it was made, by name.
    """

    attributes: dict[str, Attribute]


_SAMPLING = ("fraction_", "min_", "weighted_by_key", "arrayrecord_key", "configrecord_key")


def _builds_on_fedavg(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, FedAvg) and not kind.__name__.startswith("FedXgb")


class Seeded(FedAvg):
    """Flower's FedAvg with clients that are sampled by the run's seed.

    Flower's own samples nodes from an unseeded generator and adds replies up in order of arrival: no two runs are
    alike. It has no `__init__` of its own, so that it can stand below any of Flower's strategies; `bind` completes it.
    """

    federation: Federation
    nodes: Mapping[int, int]
    state_type = FlowerState
    _clients: dict[int, int]
    _first: dict[str, Any]

    def bind(self, federation: Federation, nodes: Mapping[int, int]) -> None:
        """Take what the server knows before the first round, and the node id of each client."""
        self.federation, self.nodes = federation, nodes
        self._clients = {node: client for client, node in nodes.items()}
        self._first = dict(vars(self))

    def keep(self, arrays: ArrayRecord) -> FlowerState:
        """Return what has changed since the beginning; Flower's strategies replace their arrays, one by one."""
        changed = {
            name: value for name, value in vars(self).items() if name != "_first" and self._first.get(name) is not value
        }
        attributes = {name: Attribute.of(name, value) for name, value in changed.items()}
        return FlowerState(records.from_record(arrays), attributes)

    def bring_back(self, state: FlowerState) -> ArrayRecord:
        """Take these back, and return what all clients are sent next."""
        for name, attribute in state.attributes.items():
            setattr(self, name, attribute.value())
        return records.to_record(state.shared)

    def client_of(self, reply: Message) -> int:
        """Return the number of the client that sent a reply."""
        return self._clients[reply.metadata.src_node_id]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the round's arrays to the sampled clients."""
        nodes = {client: self.nodes[client] for client in self.federation.sample(server_round)}
        return messages(MessageType.TRAIN, server_round, arrays, nodes, nothing, config)


class Ordered(Strategy):
    """Hands replies on in the order of their clients, and gives integer buffers their type again.

    No `Seeded` itself, which by Python's order of classes would come before the base classes of Flower's strategy.
    """

    federation: Federation
    client_of: Callable[[Message], int]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate as the strategy behind this one does, which of clients' figures needs their samples alone."""
        ordered = sorted(replies, key=self.client_of)
        for reply in ordered:
            if not reply.has_error():
                number = records.num_examples(reply.content)
                reply.content[records.METRICS] = MetricRecord({records.NUM_EXAMPLES: number})
        arrays, metrics = super().aggregate_train(server_round, ordered)  # type: ignore[safe-super]
        return (cast_like(arrays, self.federation.initial) if arrays else arrays), metrics


def cast_like(record: ArrayRecord, reference: State) -> ArrayRecord:
    """Give integer buffers, which averaging turns into floats, their own type again."""
    tensors = records.from_record(record)
    for key, tensor in tensors.items():
        dtype = reference[key].dtype if key in reference else tensor.dtype
        if tensor.dtype != dtype:
            whole = not (dtype.is_floating_point or dtype == torch.bool)
            tensors[key] = (tensor.round() if whole else tensor).to(dtype)
    return records.to_record(tensors)
