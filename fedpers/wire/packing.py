"""Tensors to Flower's arrays and back without its detour over a file, which costs a tiny client more than training.

The bytes are those of `numpy.save`, so Flower's own strategies and runtimes read them. Only the header, which is the
same for all arrays of one type and shape, is made once.
"""

import io
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from flwr.common.constant import SType
from numpy.typing import NDArray
from torch import Tensor

LARGE = 4096
"""Bytes from which on an array is worth a buffer of its own."""


@lru_cache(maxsize=4096)
def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def pack(tensor: Tensor) -> Array:
    """Return a tensor as one of Flower's arrays, in C order whatever its memory layout."""
    return pack_ndarray(tensor.detach().cpu().numpy())


def pack_ndarray(values: NDArray[Any]) -> Array:
    """Return a NumPy array as one of Flower's."""
    dense = np.ascontiguousarray(values).reshape(-1)
    data = b"".join((_header(values.dtype.str, values.shape), dense.view(np.uint8).data))
    return Array(str(values.dtype), tuple(values.shape), SType.NUMPY, data)


def view(array: Array) -> NDArray[Any]:
    """Return a Flower array as a NumPy array that must not be written to: it shares the array's memory."""
    dtype = np.dtype(array.dtype)
    header = _header(dtype.str, array.shape)
    if bytes(array.data[: len(header)]) == header:
        return np.frombuffer(array.data, dtype, offset=len(header)).reshape(array.shape)
    return array.numpy()  # in Fortran order, or of another version of the format


def unpack(array: Array) -> Tensor:
    """Return a Flower array as a tensor of its own memory."""
    return torch.from_numpy(np.array(view(array)))


def view_tensors(record: ArrayRecord) -> dict[str, Tensor]:
    """Return a record's arrays as tensors that must not be written to: they share the arrays' memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
        return {key: torch.from_numpy(view(array)) for key, array in record.items()}


def share(arrays: Iterable[Array]) -> None:
    """Let processes share the bytes of large arrays: pickled as NumPy's, they travel beside the pickle, uncopied.

    Ray then writes them into its object store once, and whoever reads them does so there.
    """
    for array in arrays:
        if len(array.data) >= LARGE:
            array.data = np.frombuffer(array.data, np.uint8)  # type: ignore[assignment]  # read like bytes


def record_of(arrays: Mapping[str, Array]) -> ArrayRecord:
    """Return arrays as a record; the constructor of Flower's would make each of them once more."""
    record = ArrayRecord()
    for key, array in arrays.items():
        record[key] = array
    return record
