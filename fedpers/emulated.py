"""An emulated accelerator: the CPU does its work, but tensors of the two do not mix, as on a GPU.

Code that runs on it creates no tensor in the wrong place. Only last bits may differ: PyTorch picks other kernels.
"""

from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

if torch.cuda.is_available():
    raise ImportError("a GPU is here: PyTorch would pin memory for the emulated device instead of for it")

NAME = "pretend"
MIXES = ("_to_copy", "copy_", "index", "index_put_")
"""Operations that take tensors of two devices on a GPU as well."""


class Pretend(torch.Tensor):
    """A tensor that says it is elsewhere."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "Pretend":
        """Wrap a tensor of the CPU."""
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(f"{NAME}:0"),
        )
        tensor.raw = raw
        return tensor

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Let the CPU do an operation."""
        return compute(operation, *args, **(kwargs or {}))


def compute(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Do an operation on the CPU; refuse tensors of both devices, numbers aside."""
    name = operation.overloadpacket.__name__
    values, structure = pytree.tree_flatten((args, kwargs))
    ours = {id(value.raw): value for value in values if isinstance(value, Pretend)}
    others = [value for value in values if isinstance(value, torch.Tensor) and not isinstance(value, Pretend)]
    if name not in MIXES and any(tensor.dim() for tensor in others):
        raise RuntimeError(f"{operation}: tensors on two devices")
    raw = [value.raw if isinstance(value, Pretend) else value for value in values]
    raw = [torch.device("cpu") if isinstance(value, torch.device) else value for value in raw]
    cpu_args, cpu_kwargs = pytree.tree_unflatten(raw, structure)
    result = operation(*cpu_args, **cpu_kwargs)
    if any(tensor.shape != tensor.raw.shape for tensor in ours.values()):
        raise NotImplementedError(f"{operation} has resized a tensor")
    target = kwargs.get("device")
    if (target is not None and torch.device(target).type == "cpu") or (name == "copy_" and args[0] is cpu_args[0]):
        return result
    return pytree.tree_map_only(
        torch.Tensor, lambda made: ours[id(made)] if id(made) in ours else Pretend(made), result
    )


class Module:
    """What `torch.get_device_module` finds: a device with much memory, or with none to spare."""

    free = 2**30
    synchronized = 0

    def is_available(self) -> bool:
        """Tell that it is there."""
        return True

    def device_count(self) -> int:
        """Return how many there are."""
        return 1

    def current_device(self) -> int:
        """Return which one is used."""
        return 0

    def is_initialized(self) -> bool:
        """Tell that nothing need be done first."""
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Its generators are never used."""

    def mem_get_info(self) -> tuple[int, int]:
        """Return free bytes and all bytes."""
        return self.free, 2**30

    def synchronize(self, device: Any = None) -> None:
        """Count that somebody waited for it."""
        self.synchronized += 1


module = Module()
_setup_privateuseone_for_python_backend(NAME, backend_module=module)
library = torch.library.Library("_", "IMPL")
library.fallback(compute, "PrivateUse1")
