"""What algorithms without shared weights send: representations, soft labels, class means, and how they are guarded.

Tensors in, tensors out; n samples, d values in a flat representation.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fedpers import seeds
from fedpers.models.staged import Staged
from fedpers.training import Split, collect


def represent(hidden: Tensor, pool: int) -> Tensor:
    """Flatten a representation; feature maps (n, C, H, W) are averaged to at most pool x pool first."""
    if hidden.dim() == 4 and max(hidden.shape[2:]) > pool:
        height, width = hidden.shape[2:]
        if height % pool or width % pool:
            hidden = F.adaptive_avg_pool2d(hidden, pool)
        else:  # the same to the bit, and on a GPU its gradient is too
            hidden = F.avg_pool2d(hidden, (height // pool, width // pool))
    return hidden.flatten(1)


def answers(model: Staged, data: Split) -> Tensor:
    """Return a model's logits for all samples, in evaluation mode: (n, classes)."""
    model.eval()
    (logits,) = collect(lambda inputs: (model(inputs),), data)
    return logits


@lru_cache(maxsize=64)
def projection_matrix(width: int, size: int, seed: int) -> Tensor:
    """Return a fixed (width, size) matrix of Gaussian numbers with variance 1/size, the same for all clients.

    Johnson and Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert space", 1984: it keeps lengths and
    angles in expectation.
    """
    generator = seeds.torch_generator(seed, f"projection {width}x{size}")
    return torch.randn(width, size, generator=generator) / math.sqrt(size)


def distill(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return T² KL(target ‖ softmax(logits/T)) of every sample; both (n, classes), result (n,)."""
    log_q = F.log_softmax(logits / temperature, dim=1)
    return temperature**2 * F.kl_div(log_q, target, reduction="none").sum(1)


def class_means(h: Tensor, p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the means of h and p over each class present, the classes in ascending order, and their counts."""
    classes, inverse, counts = labels.unique(return_inverse=True, return_counts=True)
    means = [x.new_zeros(len(classes), x.shape[1]).index_add_(0, inverse, x) / counts[:, None] for x in (h, p)]
    return means[0], means[1], classes, counts


def clip_rows(h: Tensor, norm: float | None) -> Tensor:
    """Scale every row that is longer than `norm` down to it; None changes nothing."""
    return h if norm is None else h * (norm / h.norm(dim=1, keepdim=True).clamp_min(norm))


def add_noise(h: Tensor, p: Tensor, std: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Add Gaussian noise to representations and to soft labels, which stay distributions; 0 changes nothing.

    This blurs what is sent. It is no formal guarantee of privacy: labels are sent as they are, nothing is accounted.
    """
    if not std:
        return h, p
    h = h + std * torch.randn(h.shape, generator=generator).to(h.device)
    p = (p + std * torch.randn(p.shape, generator=generator).to(p.device)).clamp_min(1e-6)
    return h, p / p.sum(1, keepdim=True)
