"""The one strategy that carries any server half: messages out of its state, its state out of replies."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
import torch
from by_hand import federation
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedpers.algorithm import Aggregated, Average, Purpose, Sent, Server, ServerState, State
from fedpers.engines.identity import assume_server_identity
from fedpers.wire import records
from fedpers.wire.carrier import Carrier, messages, nothing

NODES = {0: 11, 1: 7, 2: 99}
"""Not in the order of clients, as in Flower's runtimes."""


@pytest.fixture(autouse=True)
def _server() -> None:
    assume_server_identity()


def call(client: int) -> Message:
    return Message(RecordDict(), dst_node_id=NODES[client], message_type="train")


def reply(client: int, tensors: State, num_examples: int = 1) -> Message:
    metrics = MetricRecord({records.NUM_EXAMPLES: num_examples, "loss": 1.0})
    content = RecordDict({records.ARRAYS: records.to_record(tensors), records.METRICS: metrics})
    return Message(content, reply_to=call(client))


def failure(client: int) -> Message:
    return Message(Error(code=0, reason="the battery is empty"), reply_to=call(client))


@dataclass(frozen=True)
class Heard(ServerState):
    clients: list[int]


class Remembers(Server[Heard]):
    """Puts down who was heard, in order, and tells each client that trains."""

    def init(self) -> Heard:
        return Heard({"w": torch.tensor([9.0])}, [])

    def aggregate(self, state: Heard, round: int, sent: Mapping[int, Sent]) -> Aggregated[Heard]:
        last = torch.stack([each.tensors["w"] * each.num_examples for each in sent.values()]).sum(0)
        return Aggregated(Heard({"w": last}, [*state.clients, *sent]), {"round": float(round)})

    def send_to(self, state: Heard, client: int, round: int, purpose: Purpose) -> State:
        if purpose == "score":
            return {}
        return {"control/who": torch.tensor([client, round, *state.clients])}

    def evaluated(self, state: Heard, round: int, val_accuracy: float) -> Heard:
        return Heard(state.shared, [*state.clients, -round])


def carrier(server: type[Server] = Remembers) -> Carrier:
    return Carrier(server(federation(num_clients=3, initial={"w": torch.tensor([9.0])})), NODES)


def orders(replies: list[Message]) -> Iterator[list[Message]]:
    yield replies
    yield replies[::-1]
    yield [replies[1], replies[0], *replies[2:]]


def test_average_by_hand_in_any_order_of_arrival() -> None:
    replies = [reply(0, {"w": torch.tensor([1.0])}, 1), reply(1, {"w": torch.tensor([5.0])}, 3)]
    for arrived in orders(replies):
        arrays, _ = carrier(Average).aggregate_train(1, arrived)
        assert arrays is not None
        assert records.from_record(arrays)["w"].tolist() == [4.0]  # 1/4 of 1 and 3/4 of 5


def test_any_order_of_arrival_gives_the_same_bits() -> None:
    """1e8 - 1e8 + 0.5 and 0.5 + 1e8 - 1e8 differ in float32."""
    replies = [reply(client, {"w": torch.tensor([w])}) for client, w in ((0, 1e8), (1, -1e8), (2, 0.5))]
    found = set()
    for arrived in orders(replies):
        half = carrier(Average)
        half.aggregate_train(1, arrived)
        found.add(half.state.shared["w"].item())
        who = carrier()
        who.aggregate_train(1, arrived)
        assert who.state.clients == [0, 1, 2]
    assert len(found) == 1


def test_a_round_becomes_the_state() -> None:
    half = carrier()
    assert half.state.shared["w"].tolist() == [9]
    arrays, metrics = half.aggregate_train(4, [reply(2, {"w": torch.tensor([2.0])}, 5)])
    assert arrays is not None
    assert metrics is None
    assert records.from_record(arrays)["w"].tolist() == half.state.shared["w"].tolist() == [10]
    assert half.state.clients == [2]
    assert half.diagnostics == {"round": 4}
    half.evaluated(4, 0.5)
    assert half.state.clients == [2, -4]


def test_failed_clients_are_left_out() -> None:
    half = carrier()
    half.aggregate_train(1, [failure(1), reply(2, {"w": torch.tensor([1.0])}), reply(0, {"w": torch.tensor([1.0])})])
    assert half.state.clients == [0, 2]


def test_nothing_valid_leaves_the_state() -> None:
    half = carrier()
    half.aggregate_train(1, [reply(0, {"w": torch.tensor([1.0])})])
    before = half.state
    for replies in ([], [failure(0), failure(1)]):
        assert half.aggregate_train(2, replies) == (None, None)
        assert half.state is before
        assert half.diagnostics == {}  # those of the round before are not reported again


def test_what_failed_clients_would_have_sent_is_of_no_matter() -> None:
    half = carrier()
    half.aggregate_train(1, [failure(0), reply(1, {"v": torch.ones(1), "w": torch.ones(1)})])
    assert half.state.clients == [1]


def sent_by(half: Carrier, round: int) -> dict[int, Message]:
    """Return the messages of a round by client."""
    arrays = records.to_record(half.state.shared)
    clients = {node: client for client, node in NODES.items()}
    found = half.configure_train(round, arrays, ConfigRecord({"note": "x"}), None)  # type: ignore[arg-type]
    return {clients[message.metadata.dst_node_id]: message for message in found}


def test_each_sampled_client_is_sent_the_shared_and_its_own() -> None:
    half = carrier()
    half.aggregate_train(1, [reply(1, {"w": torch.tensor([3.0])})])
    sent = sent_by(half, 2)
    assert list(sent) == half.server.federation.sample(2) == [0, 1, 2]
    for client, message in sent.items():
        assert message.metadata.message_type == "train"
        assert records.round_of(message.content) == 2
        assert message.content.config_records[records.CONFIG]["note"] == "x"
        content = message.content.array_records
        assert records.from_record(content[records.ARRAYS])["w"].tolist() == [3]
        assert records.from_record(content[records.OWN])["control/who"].tolist() == [client, 2, 1]


def test_what_is_sent_for_scoring_is_asked_for_apart() -> None:
    half = carrier()
    assert half.own(3, "train")(1)["control/who"].tolist() == [1, 3]
    assert half.own(3, "score")(1) == {}
    assert half.configure_evaluate(1, ArrayRecord(), ConfigRecord(), None) == []  # type: ignore[arg-type]


def test_clients_without_anything_of_their_own_share_one_content() -> None:
    arrays = records.to_record({"w": torch.ones(1)})
    found = messages("train", 1, arrays, NODES, nothing)
    assert [message.metadata.dst_node_id for message in found] == [11, 7, 99]
    assert all(message.content is found[0].content for message in found)
    assert records.OWN not in found[0].content
    assert found[0].content[records.ARRAYS] is arrays


def test_an_answer_to_several_clients_is_packed_once(monkeypatch) -> None:
    packed: list[State] = []
    original = records.to_record
    monkeypatch.setattr(records, "to_record", lambda state, known: packed.append(state) or original(state, known))
    even, arrays = {"control/c": torch.tensor(2.0)}, original({"w": torch.ones(1)})

    def own(client: int) -> State:
        return {} if client == 3 else even if client % 2 == 0 else {"control/c": torch.tensor(float(client))}

    found = messages("train", 1, arrays, {client: client + 1 for client in range(6)}, own)
    assert len(packed) == 3  # once for clients 0, 2 and 4; for 1; for 5
    assert found[0].content is found[2].content is found[4].content
    values = [
        records.from_record(content[records.OWN])["control/c"].item() if records.OWN in content else None
        for content in (message.content for message in found)
    ]
    assert values == [2, 1, 2, None, 2, 5]
    assert all(message.content[records.ARRAYS] is arrays for message in found)


def test_a_tensor_among_what_clients_are_sent_is_packed_once() -> None:
    head, arrays = torch.ones(3), records.to_record({"w": torch.ones(1)})

    def own(client: int) -> State:
        return {"heads/weight": head, "soft_labels/q": torch.tensor([float(client)])}

    found = [m.content[records.OWN] for m in messages("train", 1, arrays, {0: 1, 1: 2}, own)]
    assert found[0]["heads/weight"] is found[1]["heads/weight"]
    assert [records.from_record(record)["soft_labels/q"].item() for record in found] == [0, 1]
    assert torch.equal(records.from_record(found[1])["heads/weight"], head)
