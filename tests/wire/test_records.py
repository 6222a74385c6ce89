"""Tensors in Flower's records, and what a message weighs."""

import torch
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from fedpers.wire import records

TENSORS = {"w": torch.tensor([[1.5, 2.5]]), "prototypes/mean": torch.tensor([1, 2, 3]), "weights/left/w": torch.ones(1)}


def test_there_and_back() -> None:
    back = records.from_record(records.to_record(TENSORS))
    assert list(back) == list(TENSORS)
    for key, tensor in TENSORS.items():
        assert back[key].dtype == tensor.dtype
        assert back[key].tolist() == tensor.tolist()
        back[key].add_(1)  # memory of its own
    assert TENSORS["w"].tolist() == [[1.5, 2.5]]


def test_a_view_is_what_a_client_sent() -> None:
    viewed = records.view_arrays(RecordDict({records.ARRAYS: records.to_record(TENSORS)}))
    assert {key: tensor.tolist() for key, tensor in viewed.items()} == {k: t.tolist() for k, t in TENSORS.items()}


def test_a_message_without_settings_belongs_to_no_round() -> None:
    assert records.round_of(RecordDict()) == 0
    assert records.round_of(RecordDict({records.CONFIG: ConfigRecord({"other": 1})})) == 0
    assert records.round_of(RecordDict({records.CONFIG: ConfigRecord({records.ROUND: 7})})) == 7


def test_bytes_are_counted_by_kind() -> None:
    """NumPy's header is 128 bytes; then come 2 floats and 1, and 3 whole numbers."""
    metrics = MetricRecord({records.NUM_EXAMPLES: 3})
    content = RecordDict({records.ARRAYS: records.to_record(TENSORS), records.METRICS: metrics})
    expected = {"weights": 2 * 128 + 12, "prototypes": 128 + 24, "metrics": metrics.count_bytes()}
    assert records.bytes_by_kind(content) == expected
    assert records.num_examples(content) == 3
