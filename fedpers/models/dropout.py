"""Dropout from a stream of the training's own: Srivastava et al., "Dropout", JMLR 15, 2014.

PyTorch's layers draw from the process's one generator, whose numbers depend on who else draws, and when. In a model
that a run builds they are replaced by these, which draw from what `fedpers.training.fit` opens.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from fedpers import seeds

_open = threading.local()


@contextmanager
def drawing_from(stream: "torch.Generator | Beside") -> Iterator[None]:
    """Let the layers that this thread calls in a block draw from a stream."""
    before = getattr(_open, "stream", None)
    _open.stream = stream
    try:
        yield
    finally:
        _open.stream = before


class Beside:
    """A stream that follows from another one's seed and leaves that as it is; made when somebody first draws.

    Args:
        generator: The other one.
    """

    def __init__(self, generator: torch.Generator) -> None:
        """Remember it."""
        self._generator = generator

    @cached_property
    def stream(self) -> torch.Generator:
        """The stream."""
        return seeds.torch_generator(self._generator.initial_seed(), "dropout")


class Dropout(nn.Module):
    """Set numbers, or whole channels, to 0 with probability p in training, and scale the others by 1 / (1 - p).

    Args:
        p: The probability, in [0, 1].
        whole: Whether what is set to 0 are channels of each sample, as in Dropout1d, 2d and 3d.
    """

    def __init__(self, p: float, *, whole: bool = False) -> None:
        """Keep them."""
        super().__init__()
        self.p, self.whole = p, whole

    def forward(self, x: Tensor) -> Tensor:
        """Return what is left.

        Raises:
            RuntimeError: it is called in training, and nobody has opened a stream.
        """
        if not self.training or not self.p:
            return x
        stream = getattr(_open, "stream", None)
        if stream is None:
            raise RuntimeError("dropout in training mode outside fedpers.training.fit has no stream to draw from")
        shape = (*x.shape[:2], *(1 for _ in x.shape[2:])) if self.whole else x.shape
        own = stream.stream if isinstance(stream, Beside) else stream
        kept = torch.rand(shape, generator=own) >= self.p
        return x * (kept / max(1 - self.p, 1e-12)).to(x)

    def extra_repr(self) -> str:
        """Say how it differs from others of its kind."""
        return f"p={self.p}, whole={self.whole}"


REPLACED = {nn.Dropout: False, nn.Dropout1d: True, nn.Dropout2d: True, nn.Dropout3d: True}
"""PyTorch's layers, and whether they set whole channels to 0."""


def with_own_streams(model: nn.Module) -> nn.Module:
    """Replace PyTorch's dropout layers, at any depth, in place; those that are subclasses of theirs are left alone."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, _DropoutNd) and type(child) in REPLACED:
                own = Dropout(child.p, whole=REPLACED[type(child)])
                setattr(module, name, own.train(child.training))
    return model
