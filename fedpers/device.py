"""Where clients compute: the CPU, or an accelerator; and tensors on their way there and back.

An accelerator changes the last bits of a result, never who is sampled, how batches are drawn or what is initialized:
all random numbers are drawn on the CPU.
"""

import os
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from fedpers.errors import UserError

Key = TypeVar("Key")

CPU = torch.device("cpu")

RESIDENT_SHARE = 0.1
"""Share of an accelerator's free memory that the images of all clients may take, for each worker on it."""

UNKNOWN_MEMORY = 2**32
"""Bytes supposed to be free where PyTorch cannot tell."""


def open_device(name: str) -> torch.device:
    """Return a device, set to repeatable arithmetic of full precision where PyTorch has it.

    Args:
        name: `cpu`, or the type of an accelerator: `cuda`, `mps`, `xpu`. A process computes on one of them: Ray shows
            each worker just its own.

    Raises:
        UserError: this process sees no such device.
    """
    try:
        device = torch.device(name)
        found = device == CPU or torch.get_device_module(device).is_available()
    except (RuntimeError, AttributeError):
        found = False
    if not found:
        raise UserError(
            f"device={name}: PyTorch {torch.__version__} finds no such device in this process. Accepted: cpu, or an "
            "accelerator that is there and that this build of PyTorch supports (cuda, mps, xpu)"
        )
    if device.type == "cuda":
        # otherwise convolutions round what they multiply to ten bits of mantissa: float32 in name only
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums only with it
        torch.use_deterministic_algorithms(True, warn_only=True)
        # otherwise every new tensor is written to once more; the module's property is unknown to type checkers
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return device


def server_device(name: str) -> torch.device:
    """Return where a server may compute: where its clients do, if this process has such a device; else on the CPU."""
    try:
        return open_device(name)
    except UserError:
        return CPU


def check_reserved(name: str, resources: Mapping[str, float]) -> None:
    """Raise a UserError when clients in processes of their own are to compute on a GPU that none of them reserves."""
    if name == "cuda" and not resources.get("num_gpus"):
        raise UserError(
            f"device=cuda with engine.resources.num_gpus={resources.get('num_gpus', 0):g} gives clients no GPU. "
            "Accepted: a number above 0, such as 0.25 for four at a time on each GPU"
        )


def describe(name: str) -> str:
    """Return what a device is, as far as this process can tell."""
    visible = name == "cuda" and torch.cuda.is_available()
    return f"cuda ({torch.cuda.get_device_name()})" if visible else name


def fits(num_bytes: int, device: torch.device) -> bool:
    """Tell whether that many bytes may stay on an accelerator for good."""
    module = torch.get_device_module(device)
    free = module.mem_get_info()[0] if hasattr(module, "mem_get_info") else UNKNOWN_MEMORY
    return num_bytes <= RESIDENT_SHARE * free


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; from pinned memory, so that the copy need not be waited for."""
    if tensor.device.type == device.type:
        return tensor
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_host(tensors: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
    """Return tensors on the CPU, after waiting for all of their copies at once."""
    host = {key: tensor.detach().to(CPU, non_blocking=True) for key, tensor in tensors.items()}
    for device in {tensor.device for tensor in tensors.values()} - {CPU}:
        torch.get_device_module(device).synchronize(device)
    return host
