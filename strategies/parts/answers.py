"""What a model makes of samples: its logits, what enters its head, and how one model learns from another's answers.

Tensors in, tensors out; n samples, d values in a flat representation.
"""

import torch.nn.functional as F
from torch import Tensor

from fedpers.models.staged import Staged
from fedpers.training import Split, collect


def answers(model: Staged, data: Split) -> Tensor:
    """Return a model's logits for all samples, in evaluation mode: (n, classes)."""
    model.eval()
    (logits,) = collect(lambda inputs: (model(inputs),), data)
    return logits


def representations(model: Staged, data: Split) -> Tensor:
    """Return what enters a model's head for all samples, in evaluation mode: (n, d)."""
    model.eval()
    (hidden,) = collect(lambda inputs: (model.features(inputs),), data)
    return hidden


def distill(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return T² KL(target ‖ softmax(logits/T)) of every sample; both (n, classes), result (n,)."""
    log_q = F.log_softmax(logits / temperature, dim=1)
    return temperature**2 * F.kl_div(log_q, target, reduction="none").sum(1)
