"""The one Flower strategy that carries any server half: messages from its state, and its state from replies."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedpers.algorithm import Federation, Purpose, Sent, Server, State
from fedpers.wire import records


@runtime_checkable
class BringsStrategy(Protocol):
    """An algorithm whose server half is a Flower strategy of its own, such as one of Flower's."""

    def flower_strategy(self, federation: Federation, nodes: Mapping[int, int]) -> Strategy:
        """Return the strategy, for nodes by client number."""


class Carrier(Strategy):
    """Samples clients by the run's seed and hands what they sent, in the order of clients, to a server half.

    Between two rounds everything that the server half remembers is `state`. Where somebody looks at rounds
    (`is_looked_at`), `before` is what it was before the last one, and `sent` what clients sent in that.

    Args:
        server: The server half.
        nodes: Node id by client number.
    """

    def __init__(self, server: Server[Any], nodes: Mapping[int, int]) -> None:
        """Start from the server half's first state."""
        self.server, self.nodes = server, nodes
        self.state = server.init()
        self.diagnostics: dict[str, float] = {}
        self.is_looked_at = False
        self.before, self.sent = self.state, dict[int, Sent]()

    @property
    def state_type(self) -> type[Any]:
        """The type of the server half's state."""
        return type(self.state)

    def keep(self, arrays: ArrayRecord) -> Any:
        """Return the server half's state."""
        return self.state

    def bring_back(self, state: Any) -> ArrayRecord:
        """Take a state back and return what all clients are sent next."""
        self.state = state
        return records.to_record(state.shared)

    def own(self, round: int, purpose: Purpose) -> Callable[[int], State]:
        """Return what tells what a client alone is sent."""
        return lambda client: self.server.send_to(self.state, client, round, purpose)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the round's arrays to the sampled clients, and to each what is for it alone."""
        nodes = {client: self.nodes[client] for client in self.server.federation.sample(server_round)}
        return messages(MessageType.TRAIN, server_round, arrays, nodes, self.own(server_round, "train"), config)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Let the server half aggregate what valid replies hold, if there are any."""
        sent = receive(replies, self.nodes)
        self.diagnostics = {}
        if not sent:
            return None, None
        if self.is_looked_at:
            self.before, self.sent = self.state, sent
        aggregated = self.server.aggregate(self.state, server_round, sent)
        self.state, self.diagnostics = aggregated.state, aggregated.diagnostics
        return records.to_record(self.state.shared), None

    def evaluated(self, round: int, val_accuracy: float) -> None:
        """Tell the server half how clients fare."""
        self.state = self.server.evaluated(self.state, round, val_accuracy)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Leave evaluation to the ServerApp, which scores every client."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Have nothing to aggregate."""
        return None

    def summary(self) -> None:
        """Leave reports to the ServerApp."""


def nothing(_client: int) -> State:
    """Tell that a client is sent nothing of its own."""
    return {}


def messages(
    kind: str,
    round: int,
    arrays: ArrayRecord,
    nodes: Mapping[int, int],
    own: Callable[[int], State],
    config: Mapping[str, Any] | None = None,
) -> list[Message]:
    """Return a message to each client: what all are sent, and what is for it alone.

    Args:
        kind: Flower's message type.
        round: The round, counted from 1.
        arrays: What all are sent.
        nodes: Node id by client number.
        own: Tells what a client alone is sent.
        config: Further settings of the round.
    """
    shared = RecordDict(
        {records.ARRAYS: arrays, records.CONFIG: ConfigRecord({**(config or {}), records.ROUND: round})}
    )
    contents: dict[int, tuple[State, RecordDict]] = {}  # a server half may answer several clients with the same tensors
    packed: records.Packed = {}
    found = []
    for client, node in nodes.items():
        state = own(client)
        if state and id(state) not in contents:
            contents[id(state)] = state, RecordDict({**shared, records.OWN: records.to_record(state, packed)})
        content = contents[id(state)][1] if state else shared
        found.append(Message(content, dst_node_id=node, message_type=kind))
    return found


def receive(replies: Iterable[Message], nodes: Mapping[int, int]) -> dict[int, Sent]:
    """Return what clients sent, by client in ascending order, without those that failed."""
    clients = {node: client for client, node in nodes.items()}
    valid = {clients[reply.metadata.src_node_id]: reply.content for reply in replies if not reply.has_error()}
    return {
        client: Sent(records.view_arrays(content), int(records.num_examples(content)))
        for client, content in sorted(valid.items())
    }
