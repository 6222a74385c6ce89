"""A decoder from representations to images, and how much of the images it gives away.

The attack is that of Dosovitskiy and Brox, "Inverting Visual Representations with Convolutional Networks", CVPR 2016,
https://arxiv.org/abs/1506.02753, by a server whose examples are those of the clients that collude with it. These are
few, so that the decoder is kernel ridge regression (Saunders, Gammerman and Vovk, "Ridge Regression Learning Algorithm
in Dual Variables", ICML 1998) and no network: on Fashion-MNIST it left ten points less error at the first three cuts
than one with a hidden layer of 512 units, and two more at the fourth.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.inversion.seen import Seen
from fedpers import seeds

WIDTHS, PENALTIES = (0.1, 0.3, 1.0, 3.0), (0.01, 0.1, 1.0, 10.0)
"""What is tried: the kernel is exp(-width * squared distance / its median), the penalty on the diagonal."""

MOST_ROWS = 4000
"""Examples that the decoder learns from at most, drawn at random: all pairs of them are looked at."""

LABEL = 2.0
"""How far two labels lie from one another, beside representations of 10 numbers with unit variance."""


class Leak(NamedTuple):
    """How much reconstructions give away, over images.

    Args:
        error: Their mean squared error, in % of that of the best guess without a representation: the mean image of
            the class. 100 and more: nothing is learnt.
        matched: The share of them, in %, that are most like the very image that they were made from, of all attacked
            images of its class.
        chance: What `matched` is of a guess.
    """

    error: float
    matched: float
    chance: float


def class_guess(known: Seen, labels: Tensor) -> Tensor:
    """Return the mean image of each label's class among what the server knows, of all where it knows none of it."""
    every = known.images.mean(0)
    means = {int(label): known.images[known.labels == label].mean(0) for label in known.labels.unique()}
    return torch.stack([means.get(int(label), every) for label in labels])


def reconstructed(known: Seen, attacked: Seen, num_classes: int, seed: int) -> Tensor:
    """Return the images that a decoder makes of what was sent of the attacked ones.

    It learns from what the server knows what to add to the mean image of the class. Kernel and penalty are those that
    do best on every fifth colluder, whose images it does not learn from.

    Args:
        known: Rows of the clients that collude.
        attacked: Rows of the others; their images are not looked at.
        num_classes: Number of classes.
        seed: The run's seed.
    """
    held_out = torch.isin(known.owners, known.owners.unique()[::5])
    learnt, judged = known.of(~held_out), known.of(held_out)
    if len(learnt.labels) > MOST_ROWS:
        order = torch.randperm(len(learnt.labels), generator=seeds.torch_generator(seed, "examples"))
        learnt = learnt.of(order[:MOST_ROWS].sort().values)
    place = _places(learnt, num_classes)
    target, target_judged = (
        (rows.images - class_guess(learnt, rows.labels)).flatten(1).double() for rows in (learnt, judged)
    )
    distances, distances_judged, distances_attacked = (
        torch.cdist(place(rows), place(learnt)).square() for rows in (learnt, judged, attacked)
    )
    median = distances.median().clamp_min(1e-12)
    best, answer = float("inf"), torch.zeros(len(attacked.labels), target.shape[1])
    for width in WIDTHS:
        values, vectors = torch.linalg.eigh((-width * distances / median).exp())
        rotated = vectors.T @ target
        kernel_judged, kernel_attacked = (
            (-width * each / median).exp() @ vectors for each in (distances_judged, distances_attacked)
        )
        for penalty in PENALTIES:
            weights = rotated / (values.clamp_min(0) + penalty)[:, None]
            error = float(F.mse_loss(kernel_judged @ weights, target_judged))
            if error < best:
                best, answer = error, (kernel_attacked @ weights).float()
    return class_guess(learnt, attacked.labels) + answer.reshape(attacked.images.shape)


def _places(learnt: Seen, num_classes: int) -> Callable[[Seen], Tensor]:
    """Return where rows lie, as what the decoder learns from is scaled: (n, d + classes)."""
    mean, std = learnt.h.mean(0), learnt.h.std(0).clamp_min(1e-6)
    scale = (10 / learnt.h.shape[1]) ** 0.5
    return lambda rows: torch.cat(
        [scale * (rows.h - mean) / std, LABEL * F.one_hot(rows.labels, num_classes).float()], 1
    ).double()


def leak(made: Tensor, attacked: Seen, guess: Tensor) -> Leak:
    """Return what reconstructions give away.

    Args:
        made: Reconstructions of the first m of the attacked images (m, channels, height, width).
        attacked: All attacked images.
        guess: The best guess of each without its representation (n, channels, height, width).
    """
    number = len(made)
    images, labels = attacked.images, attacked.labels
    error = float((made - images[:number]).square().mean() / (guess[:number] - images[:number]).square().mean())
    away = F.normalize((images - guess).flatten(1))
    alike = F.normalize((made - guess[:number]).flatten(1)) @ away.T
    alike[labels[:number, None] != labels] = -float("inf")
    found = alike.argmax(1) == torch.arange(number)
    found &= (made - guess[:number]).flatten(1).abs().sum(1) > 0  # a mere guess is like none of them
    chance = (1 / (labels[:number, None] == labels).sum(1)).mean()
    return Leak(100 * error, 100 * float(found.float().mean()), 100 * float(chance))
