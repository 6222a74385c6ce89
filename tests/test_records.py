"""Tensors in Flower's records."""

import torch
from flwr.app import ArrayRecord

from fedpers import records


def test_integer_buffers_keep_their_type() -> None:
    averaged = ArrayRecord({"num_batches_tracked": torch.tensor(2.6, dtype=torch.float64), "w": torch.tensor([1.5])})
    cast = records.from_record(
        records.cast_like(averaged, {"num_batches_tracked": torch.tensor(0), "w": torch.zeros(1)})
    )
    assert cast["num_batches_tracked"].dtype == torch.int64
    assert cast["num_batches_tracked"].item() == 3
    assert cast["w"].tolist() == [1.5]
