"""What server halves share: the weighted average by hand."""

import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from toys import three_parameters

from fedpers import records
from fedpers.federation import Federation
from strategies.base import ServerAverage


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
