"""FedAvg against an independent implementation, by hand, and as a limit of other algorithms."""

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from strategies_reference import fedavg
from toys import make_task, three_parameters

from fedpers import client_app, records, seeds
from fedpers.federation import Federation
from fedpers.ledger import Ledger
from strategies.base import ServerAverage
from strategies.fedavg import FedAvg


class Spy(Ledger):
    """Remembers the arrays that evaluation messages carry: the global model after each round."""

    def __init__(self, grid: Grid, num_clients: int) -> None:
        super().__init__(grid, {number: number + 1 for number in range(num_clients)})
        self.arrays: list[ArrayRecord] = []

    def send_and_receive(self, messages, *, timeout=None):  # type: ignore[no-untyped-def]
        sent = list(messages)
        if sent and sent[0].metadata.message_type == "evaluate":
            self.arrays.append(sent[0].content.array_records[records.ARRAYS])
        return super().send_and_receive(sent, timeout=timeout)


@pytest.mark.parametrize("model", [["model=mlp", "model.hidden=[8,6]"], ["model=cnn_small"]])
def test_three_rounds_agree_with_an_independent_implementation(federate, config, model) -> None:
    overrides = ["strategy=fedavg", "partition=dirichlet", "partition.alpha=1", "local_epochs=2", "lr=0.2", *model]
    spies: list[Spy] = []

    def wrap(grid: Grid) -> Grid:
        spies.append(Spy(grid, 4))
        return spies[0]

    federate(*overrides, wrap=wrap)
    settings, shards = client_app.open_run(config(*overrides).to_json())
    clients = [(shards.client(i).train.inputs, shards.client(i).train.labels) for i in range(4)]
    expected = fedavg(
        client_app.build_model(settings, shards),
        clients,
        rounds=3,
        epochs=2,
        batch_size=settings.batch_size,
        lr=settings.lr,
        order=lambda round, client: seeds.derive(settings.seed, "train", round=round, client=client),
    )
    assert len({len(labels) for _, labels in clients}) > 1  # weights matter
    found = records.from_record(spies[0].arrays[-1])
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-6)


def test_client_update_by_hand() -> None:
    # x = 1 with label 0, scale 1, head weights (0, 0): logits (0, 0), p = (1/2, 1/2).
    # dCE/dlogits = (-1/2, 1/2); dCE/dhead = the same times 1; dCE/dscale = head . dlogits = 0.
    # One step with lr 1: head = (1/2, -1/2), scale unchanged.
    model = three_parameters()
    update = FedAvg().train(make_task(model, FedAvg(), [[1.0]], [0]))
    assert update.send["head.weight"].flatten().tolist() == pytest.approx([0.5, -0.5])
    assert update.send["base.weight"].tolist() == [1.0]
    assert update.keep == {}
    assert update.metrics == {"loss": pytest.approx(float(np.log(2)))}


def test_server_average_by_hand_in_any_order_of_arrival(config) -> None:
    federation = Federation(
        config=config(), nodes={0: 11, 1: 7}, num_classes=2, shape=(1, 1, 1), model=three_parameters, initial={}
    )
    from fedpers.engines.identity import assume_server_identity

    assume_server_identity()

    def reply(node: int, value: float, num_examples: int) -> Message:
        call = Message(RecordDict(), dst_node_id=node, message_type="train")
        arrays = ArrayRecord({"w": torch.tensor([value])})
        metrics = MetricRecord({"num-examples": num_examples, "loss": value})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=call)

    for replies in ([reply(11, 1.0, 1), reply(7, 5.0, 3)], [reply(7, 5.0, 3), reply(11, 1.0, 1)]):
        arrays, metrics = ServerAverage(federation).aggregate_train(1, replies)
        assert records.from_record(arrays)["w"].tolist() == [4.0]  # 1/4 of 1 and 3/4 of 5
        assert metrics["loss"] == 4.0


def test_one_client_is_local(federate) -> None:
    one = ["partition.num_clients=1"]
    local, fedavg_run = federate("strategy=local", *one), federate("strategy=fedavg", *one)
    personal = fedavg_run.scores[fedavg_run.scores.model == "personal"].reset_index(drop=True)
    assert personal.equals(local.scores)


def test_personal_and_global_model_are_one(federate) -> None:
    table = federate("strategy=fedavg").scores
    personal, shared = (
        table[table.model == m].drop(columns="model").reset_index(drop=True) for m in ("personal", "global")
    )
    assert len(personal) == 3 * 4 * 2
    assert personal.equals(shared)


def test_integer_buffers_keep_their_type() -> None:
    averaged = ArrayRecord({"num_batches_tracked": torch.tensor(2.6, dtype=torch.float64), "w": torch.tensor([1.5])})
    cast = records.from_record(
        records.cast_like(averaged, {"num_batches_tracked": torch.tensor(0), "w": torch.zeros(1)})
    )
    assert cast["num_batches_tracked"].dtype == torch.int64
    assert cast["num_batches_tracked"].item() == 3
    assert cast["w"].tolist() == [1.5]
