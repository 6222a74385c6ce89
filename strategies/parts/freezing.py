"""Training a part of a model while the rest stands still."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor

from fedpers.models.staged import Staged, stage_of


@contextmanager
def only(model: Staged, stages: Iterable[str]) -> Iterator[list[Tensor]]:
    """Let gradients flow into some stages only; gives their parameters. Running statistics of all stages move on."""
    chosen = set(stages)
    trained: list[Tensor] = [w for name, w in model.named_parameters() if stage_of(name) in chosen]
    still = [w for name, w in model.named_parameters() if stage_of(name) not in chosen]
    for w in still:
        w.requires_grad_(False)
    try:
        yield trained
    finally:
        for w in still:
            w.requires_grad_(True)
