"""FedAvg against an independent implementation, by hand, and as a limit of other algorithms."""

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from flwr.serverapp import Grid
from plain_fedavg import fedavg
from toys import make_task, three_parameters

from fedpers import assembly, seeds
from fedpers.wire import records
from fedpers.wire.ledger import Ledger
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
    settings, shards = assembly.open_run(config(*overrides).to_json())
    clients = [(shards.client(i).train.inputs, shards.client(i).train.labels) for i in range(4)]
    expected = fedavg(
        assembly.build_model(settings, shards),
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
