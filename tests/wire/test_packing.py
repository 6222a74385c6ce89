"""Packing without a file: the bytes of NumPy's own format."""

import pickle

import numpy as np
import pytest
import torch
from flwr.app import Array

from fedpers.wire import packing

TENSORS = {
    "matrix": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "number": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "half": torch.ones(3, dtype=torch.float16),
    "double": torch.tensor([0.1], dtype=torch.float64),
    "empty": torch.empty(0, 4),
    "gradient": torch.ones(2, requires_grad=True),
}


@pytest.mark.parametrize("name", TENSORS)
def test_bytes_are_numpys(name: str) -> None:
    found, expected = packing.pack(TENSORS[name]), Array(TENSORS[name])
    assert (found.dtype, found.shape, found.stype, found.data) == (
        expected.dtype,
        expected.shape,
        expected.stype,
        expected.data,
    )


@pytest.mark.parametrize("name", TENSORS)
def test_there_and_back(name: str) -> None:
    back = packing.unpack(packing.pack(TENSORS[name]))
    assert back.dtype == TENSORS[name].dtype
    assert torch.equal(back, TENSORS[name].detach())


def test_memory_layout_is_of_no_matter() -> None:
    image = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    laid_out = image.contiguous(memory_format=torch.channels_last)
    assert packing.pack(laid_out).data == packing.pack(image).data
    transposed = Array(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    assert packing.unpack(transposed).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_what_is_unpacked_may_be_changed() -> None:
    array = packing.pack(torch.zeros(3))
    packing.unpack(array).add_(1)
    assert packing.unpack(array).tolist() == [0, 0, 0]


def test_any_buffer_will_do() -> None:
    array = packing.pack(TENSORS["matrix"])
    array.data = memoryview(bytearray(array.data))
    assert torch.equal(packing.unpack(array), TENSORS["matrix"])


def test_large_arrays_are_pickled_without_a_copy() -> None:
    large, small = packing.pack(torch.arange(5000.0)), packing.pack(torch.arange(5.0))
    buffers: list[pickle.PickleBuffer] = []
    packing.share([large, small])
    text = pickle.dumps([large, small], protocol=5, buffer_callback=buffers.append)
    assert [len(buffer.raw()) for buffer in buffers] == [5000 * 4 + 128]
    found = pickle.loads(text, buffers=buffers)
    assert torch.equal(packing.unpack(found[0]), torch.arange(5000.0))
    assert found[0].numpy().tolist() == list(range(5000))
    assert torch.equal(packing.unpack(found[1]), torch.arange(5.0))
