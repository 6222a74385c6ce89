"""What the algorithms share: Flower's FedAvg with seeded sampling and ordered sums, and personal layers.

Flower's own FedAvg samples nodes from an unseeded generator and adds replies up in order of arrival: no two runs are
alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from fedpers import records
from fedpers.client import Client, State, Task
from fedpers.config import Config
from fedpers.errors import UserError
from fedpers.federation import Federation
from fedpers.models.staged import Staged, stage_of
from fedpers.packing import average
from strategies.parts import second_model as personal


class Seeded(FedAvg):
    """Flower's FedAvg, made repeatable: clients are sampled by the run's seed, replies are taken in their order.

    It has no `__init__` of its own, so that it can stand below any of Flower's strategies; `bind` completes it.
    """

    federation: Federation
    diagnostics: dict[str, float]
    _clients: dict[int, int]

    def bind(self, federation: Federation) -> None:
        """Take what the server knows before the first round."""
        self.federation = federation
        self.diagnostics = {}
        self._clients = {node: client for client, node in federation.nodes.items()}

    def client_of(self, reply: Message) -> int:
        """Return the number of the client that sent a reply."""
        return self._clients[reply.metadata.src_node_id]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the round's arrays to the sampled clients, and to each what is for it alone."""
        settings = ConfigRecord({**config, records.ROUND: server_round})
        shared = RecordDict({records.ARRAYS: arrays, records.CONFIG: settings})
        messages = []
        for client in self.federation.sample(server_round):
            own = self.send_to(client, server_round)
            content = RecordDict({**shared, records.OWN: records.to_record(own)}) if own else shared
            messages.append(Message(content, dst_node_id=self.federation.nodes[client], message_type=MessageType.TRAIN))
        return messages

    def evaluated(self, round: int, val_accuracy: float) -> None:
        """Be told the personal models' mean validation accuracy over clients; nothing follows from it by default."""

    def send_to(self, client: int, round: int) -> State:
        """Return what one client alone is sent when it trains; nothing by default, and never when it is scored."""
        return {}

    def receive(self, replies: Iterable[Message]) -> tuple[dict[int, State], MetricRecord | None]:
        """Return what each client sent, by client in ascending order, and the average of their figures.

        Without a single valid reply that is an empty dictionary and None.
        """
        valid = self._valid(replies)
        if not valid:
            return {}, None
        sent = {self.client_of(reply): records.from_record(_arrays(reply.content)) for reply in valid}
        return sent, self.train_metrics_aggr_fn([reply.content for reply in valid], self.weighted_by_key)

    def _valid(self, replies: Iterable[Message]) -> list[Message]:
        """Return the replies without an error in the order of their clients; errors are logged."""
        return self._check_and_log_replies(sorted(replies, key=self.client_of), is_train=True)[0]


class ServerAverage(Seeded):
    """Average what sampled clients send, weighted by their training samples.

    Args:
        federation: What the server knows before the first round.
    """

    def __init__(self, federation: Federation) -> None:
        """Leave evaluation to the ServerApp, which scores every client."""
        super().__init__(fraction_evaluate=0.0, min_available_nodes=1, min_train_nodes=1)
        self.bind(federation)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Sum replies in the order of their clients, and give integer buffers their type again."""
        valid = self._valid(replies)
        if not valid:
            return None, None
        contents = [reply.content for reply in valid]
        sizes = [records.num_examples(content) for content in contents]
        weights = [size / sum(sizes) for size in sizes]
        arrays = average((self.weights_of(content) for content in contents), weights)
        metrics = self.train_metrics_aggr_fn(contents, self.weighted_by_key)
        return records.cast_like(arrays, self.federation.initial), metrics

    def weights_of(self, content: RecordDict) -> ArrayRecord:
        """Return what is to be averaged of what a client sent; all of it by default."""
        return _arrays(content)


class StateServer(ServerAverage):
    """Aggregate by a rule of one's own, which sees what each client sent."""

    def aggregate(self, round: int, sent: dict[int, State]) -> State:
        """Return what all clients are sent next, when they train and when they are scored: weights, extras, or nothing.

        Args:
            round: The round, counted from 1.
            sent: What clients sent, by client in ascending order; at least one.
        """
        raise NotImplementedError

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate what valid replies hold, if there are any."""
        sent, metrics = self.receive(replies)
        if not sent:
            return None, None
        state = self.aggregate(server_round, sent)
        return records.cast_like(records.to_record(state), self.federation.initial), metrics

    def mean_weights(self, sent: dict[int, State], count: str) -> State:
        """Return the mean of the weights among what clients sent, each by its training samples, as FedAvg has it.

        Args:
            sent: What clients sent.
            count: Wire key of a client's samples of each class.
        """
        sizes = [int(state[count].sum()) for state in sent.values()]
        weights = ({key: w for key, w in state.items() if "/" not in key} for state in sent.values())
        return records.from_record(average(map(records.to_record, weights), [size / sum(sizes) for size in sizes]))

    def plain_mean(self, sent: dict[int, State]) -> State:
        """Return the mean of what clients sent, every client counting once."""
        states = list(sent.values())
        return {key: torch.stack([state[key].float() for state in states]).mean(0) for key in states[0]}


def _arrays(content: RecordDict) -> ArrayRecord:
    """Return what a client sent."""
    return records.select(content, ArrayRecord)[records.ARRAYS]


class Algorithm(Client):
    """A client half together with its server half; the defaults are those of plain federated averaging."""

    def require(self, key: str, holds: bool, accepted: str) -> None:
        """Raise a UserError that names a key, its value and what is accepted, unless a condition holds."""
        if not holds:
            raise UserError(f"strategy.{key}={getattr(self, key)} is not possible. Accepted: {accepted}")

    def require_one_architecture(self, config: Config) -> None:
        """Raise a UserError when clients have models of several architectures, whose weights cannot be mixed."""
        if len(config.model.get("mixture", ())) > 1:
            raise UserError(
                f"strategy={config.choices.get('strategy')} mixes clients' weights, which models of several "
                "architectures (model.mixture) do not allow. Accepted: one model for all clients"
            )

    def server(self, federation: Federation) -> Strategy:
        """Return the server half."""
        return ServerAverage(federation)


class SecondModel(Algorithm):
    """A personal model beside the shared one: a client is scored by the one in its memory, else by what it received."""

    def personalize(self, task: Task) -> Staged:
        """Return the personal model, if there is one yet."""
        personal.load(task.model, personal.stored(task.state))
        return task.model


@dataclass(frozen=True)
class PersonalLayers(Algorithm):
    """Stages that stay with their client, while the others are averaged.

    Args:
        personal: Names of the stages that stay.
    """

    personal: tuple[str, ...]

    def check(self, model: Staged, config: Config) -> None:
        """Check the stages' names."""
        model.check_stages(self.personal, "strategy.personal")

    def is_personal(self, key: str) -> bool:
        """Tell whether a key belongs to a personal stage."""
        return stage_of(key) in self.personal
