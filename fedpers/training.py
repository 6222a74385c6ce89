"""The only batch loops: `fit`, `score` and `collect`. Algorithms vary them by arguments, never by copying.

Images are kept in memory as (N, H, W, C) and seen as (N, C, H, W), which is PyTorch's channels_last layout: on CPUs
that alone makes convolutions faster by half.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.device import to_device
from fedpers.models.dropout import Beside, drawing_from


@dataclass(frozen=True)
class Batch:
    """A mini-batch: inputs (B, ...), labels (B,), and the samples' positions in their split (B,)."""

    inputs: Tensor
    labels: Tensor
    index: Tensor


@dataclass(frozen=True)
class Split:
    """Samples in memory: inputs (N, ...) in float32 and labels (N,) in int64."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def in_order(self, batch_size: int, *, min_size: int = 1) -> Iterator[Batch]:
        """Yield all samples in their order."""
        start = 0
        order = to_device(torch.arange(len(self)), self.labels.device)
        for index in _parts(order, batch_size, min_size):
            rows = slice(start, start + len(index))
            start = rows.stop
            yield Batch(self.inputs[rows], self.labels[rows], index)

    def shuffled(self, batch_size: int, generator: torch.Generator, *, min_size: int = 1) -> Iterator[Batch]:
        """Yield all samples in random order."""
        order = to_device(torch.randperm(len(self), generator=generator), self.labels.device)
        for index in _parts(order, batch_size, min_size):
            yield Batch(self.inputs[index], self.labels[index], index)


def _parts(order: Tensor, batch_size: int, min_size: int) -> list[Tensor]:
    """Cut an order into batches; a last one under `min_size` joins the one before it."""
    parts = list(order.split(batch_size)) if len(order) else []
    if len(parts) > 1 and len(parts[-1]) < min_size:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@dataclass(frozen=True)
class Score:
    """How a model did on a split: mean cross-entropy in nats, share of correct answers; `fedpers.scoring` has more.

    Args:
        num_examples: Samples in the split.
        loss: Mean cross-entropy in nats.
        accuracy: Share of correct answers, 0 to 1.
        answers: The model's logits, batch by batch, where they were computed.
    """

    num_examples: int
    loss: float
    accuracy: float
    answers: tuple[Tensor, ...] = field(default=(), compare=False, repr=False)


Objective = Callable[[nn.Module, Batch], Tensor]
"""What `fit` minimizes: maps a model and a batch to a scalar."""


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of the model's logits."""
    return F.cross_entropy(model(batch.inputs), batch.labels)


def fit(
    model: nn.Module,
    data: Split,
    *,
    epochs: int,
    batch_size: int,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    objective: Objective = cross_entropy,
    clip_norm: float | None = None,
    mixed: bool = False,
    share: float = 1.0,
    accumulate: int = 1,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Train a model in place.

    Args:
        model: Its parameters are moved by `optimizer`.
        data: The training samples.
        epochs: Passes over `data`, each in a new random order.
        batch_size: Samples in a batch.
        optimizer: Holds the parameters that are trained.
        generator: Source of the batch order; dropout draws from a stream beside it.
        objective: Loss of a batch.
        clip_norm: Largest gradient norm, if any.
        mixed: Compute the forward pass in bfloat16 where PyTorch's automatic mixed precision holds that to be safe.
        share: Share of all mini-batches that there is time for; at least one is.
        accumulate: Batches of an epoch whose gradients are averaged, by samples, before each step.
        augment: What becomes of a batch's inputs first.

    Returns:
        Mean loss over the samples of the last epoch that was begun; 0 when there was nothing to do.
    """
    model.train()
    # BatchNorm cannot normalize a batch of one sample
    min_size = 2 if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()) else 1
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    losses: list[Tensor] = []
    seen, batches = 0, len(_parts(torch.empty(len(data)), batch_size, min_size))
    left = max(1, math.ceil(share * epochs * batches - 1e-9))
    with drawing_from(Beside(generator)):
        for _ in range(epochs):
            if not left:
                break
            losses, seen = [], 0
            found = itertools.islice(data.shuffled(batch_size, generator, min_size=min_size), left)
            for together in _groups(found, accumulate):
                optimizer.zero_grad(set_to_none=True)
                total = sum([len(batch.labels) for batch in together])
                for batch in together:
                    loss = _backward(model, batch, objective, len(batch.labels) / total, mixed, augment)
                    losses.append(loss * len(batch.labels))
                if clip_norm is not None:
                    nn.utils.clip_grad_norm_(parameters, clip_norm)
                optimizer.step()
                seen += total
            left -= len(losses)
    return float(torch.stack(losses).sum()) / seen if losses else 0.0


def _backward(
    model: nn.Module,
    batch: Batch,
    objective: Objective,
    weight: float,
    mixed: bool,
    augment: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """Add a batch's gradients, weighted, to those that there are, and return its loss."""
    if augment is not None:
        batch = replace(batch, inputs=augment(batch.inputs))
    with torch.autocast(batch.inputs.device.type, torch.bfloat16) if mixed else nullcontext():
        loss = objective(model, batch)
    (loss if weight == 1 else loss * weight).backward()
    return loss.detach()


def _groups(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    while together := list(itertools.islice(batches, size)):
        yield together


def sgd(parameters: Iterable[Tensor], lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> torch.optim.SGD:
    """Return plain SGD in PyTorch's fused form, which makes one call of all parameters."""
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)


@torch.no_grad()
def score(model: nn.Module, data: Split, *, batch_size: int = 512) -> Score:
    """Score a model on every sample of a split, in evaluation mode."""
    model.eval()
    loss, correct, answers = 0.0, 0, list[Tensor]()
    for batch in data.in_order(batch_size):
        logits = model(batch.inputs)
        answers.append(logits)
        loss += float(F.cross_entropy(logits, batch.labels, reduction="sum"))
        correct += int((logits.argmax(1) == batch.labels).sum())
    return Score(len(data), loss / max(1, len(data)), correct / max(1, len(data)), tuple(answers))


@torch.no_grad()
def collect(
    function: Callable[[Tensor], tuple[Tensor, ...]], data: Split, *, batch_size: int = 512
) -> tuple[Tensor, ...]:
    """Apply a function to all inputs, in order, and return its outputs over the whole split."""
    parts = [function(batch.inputs) for batch in data.in_order(batch_size)]
    return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))
