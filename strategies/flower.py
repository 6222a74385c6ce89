"""Flower's own server strategies, as they are, with every client's model scored on top.

https://flower.ai/docs/framework/ref-api/flwr.serverapp.strategy.html; each names its paper. Reddi et al., "Adaptive
Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295 (FedAdagrad, FedAdam, FedYogi); Hsu, Qi and Brown,
"Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019,
https://arxiv.org/abs/1909.06335 (FedAvgM); Blanchard et al., "Machine Learning with Adversaries", NeurIPS 2017 (Krum);
Yin et al., "Byzantine-Robust Distributed Learning", ICML 2018, https://arxiv.org/abs/1803.01498 (median, trimmed mean).

Clients are FedAvg's. The personal model is the global one.

Deviations from Flower: clients are sampled by the run's seed, and replies are aggregated in the order of their clients,
not of their arrival.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg, Strategy

from fedpers import records
from fedpers.errors import unknown_name
from fedpers.federation import Federation
from strategies.base import Algorithm, Seeded


@dataclass(frozen=True)
class Flower(Algorithm):
    """One of Flower's strategies that build on its FedAvg.

    Args:
        name: Its class in `flwr.serverapp.strategy`.
        options: Its keyword arguments; sampling is the run's (`participation`).
    """

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

    def server(self, federation: Federation) -> FedAvg:
        """Return Flower's strategy between an ordering of the replies and a seeded sampling."""
        kind = type(self.name, (Ordered, getattr(flower, self.name), Seeded), {})
        made: Any = kind(fraction_evaluate=0.0, min_available_nodes=1, min_train_nodes=1, **self.options)
        made.bind(federation)
        server: FedAvg = made
        return server


_SAMPLING = ("fraction_", "min_", "weighted_by_key", "arrayrecord_key", "configrecord_key")


def _builds_on_fedavg(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, FedAvg) and not kind.__name__.startswith("FedXgb")


class Ordered(Strategy):
    """Hands replies on in the order of their clients, and gives integer buffers their type again.

    No `Seeded` itself, which by Python's order of classes would come before the base classes of Flower's strategy.
    """

    federation: Federation
    client_of: Callable[[Message], int]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate as the strategy behind this one does."""
        ordered = sorted(replies, key=self.client_of)
        arrays, metrics = super().aggregate_train(server_round, ordered)  # type: ignore[safe-super]
        return (records.cast_like(arrays, self.federation.initial) if arrays else arrays), metrics
