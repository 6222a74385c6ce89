"""Flower's own strategies between a seeded sampling and an ordering of the replies."""

import numpy as np
import pytest
import torch
from by_hand import federation, from_yaml
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedpers.config.compose import group_choices
from fedpers.engines.identity import assume_server_identity
from fedpers.errors import UserError
from fedpers.wire import records
from fedpers.wire.carrier import BringsStrategy
from strategies.flower import Flower, cast_like

NAMES = [name for name in group_choices("strategy") if name.startswith("flower_")]


def test_there_are_eight() -> None:
    assert len(NAMES) == 8


@pytest.mark.parametrize("name", ["flower_fedavgm", "flower_fedtrimmedavg"])
def test_fedavg_as_a_limit(name: str, federate) -> None:
    """FedAvgM without momentum; the trimmed mean that trims nothing, of clients with equally many samples."""
    plain = {
        "flower_fedavgm": "strategy.options={server_learning_rate: 1.0, server_momentum: 0.0}",
        "flower_fedtrimmedavg": "strategy.options={beta: 0.0}",
    }[name]
    limit, average = federate(f"strategy={name}", plain).scores, federate("strategy=fedavg").scores
    assert limit.accuracy.to_numpy() == pytest.approx(average.accuracy.to_numpy(), abs=0.05)
    assert limit.loss.to_numpy() == pytest.approx(average.loss.to_numpy(), abs=1e-4)


def test_fedadam_moves_as_its_equations_say() -> None:
    """One weight, one round: x + eta sqrt(1 - beta2^2) / (1 - beta1^2) m / (sqrt(v) + tau), m = (1 - beta1) d, ..."""
    assume_server_identity()
    options = {"eta": 0.1, "beta_1": 0.9, "beta_2": 0.99, "tau": 0.001}
    algorithm = Flower(name="FedAdam", options=options)
    assert isinstance(algorithm, BringsStrategy)
    server = algorithm.flower_strategy(federation(num_clients=1), {0: 0})
    (sent,) = server.configure_train(1, one_weight(2.0), ConfigRecord(), None)  # type: ignore[arg-type]
    assert sent.metadata.dst_node_id == 0
    content = RecordDict({"arrays": one_weight(2.5), "metrics": MetricRecord({"num-examples": 3, "loss": 1.0})})
    reply = Message(content, reply_to=Message(RecordDict(), dst_node_id=0, message_type="train"))
    arrays, _ = server.aggregate_train(1, [reply])
    m, v = 0.1 * 0.5, 0.01 * 0.25
    eta = 0.1 * np.sqrt(1 - 0.99**2) / (1 - 0.9**2)
    assert arrays is not None
    assert arrays["w"].numpy().tolist() == pytest.approx([2 + eta * m / (np.sqrt(v) + 0.001)])


def test_integer_buffers_keep_their_type() -> None:
    averaged = ArrayRecord({"num_batches_tracked": torch.tensor(2.6, dtype=torch.float64), "w": torch.tensor([1.5])})
    cast = records.from_record(cast_like(averaged, {"num_batches_tracked": torch.tensor(0), "w": torch.zeros(1)}))
    assert cast["num_batches_tracked"].dtype == torch.int64
    assert cast["num_batches_tracked"].item() == 3
    assert cast["w"].tolist() == [1.5]


def one_weight(value: float) -> ArrayRecord:
    return ArrayRecord({"w": Array(np.array([value], np.float32))})


def test_krum_hands_out_one_clients_model(federate) -> None:
    run = federate("strategy=flower_krum", "rounds=1")
    assert not run.scores.equals(federate("strategy=fedavg", "rounds=1").scores)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "FedAdan"}, r"unknown strategy\.name 'FedAdan'\. Did you mean 'FedAdam'\?"),
        ({"name": "FedXgbBagging"}, r"unknown strategy\.name"),
        ({"options": {"etta": 1}}, r"strategy\.options\. 'etta'\. Did you mean 'eta'\?"),
        ({"options": {"fraction_train": 0.5}}, r"strategy\.options\. 'fraction_train'"),
    ],
)
def test_mistakes_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_yaml("flower_fedadam", **changes)
