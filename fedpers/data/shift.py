"""Shifts: what makes a client's samples its own beyond who holds which: other features, or other labels.

A shift changes all samples of a client, or of a group of clients, in one way. Client k is in group k modulo their
number; without groups every client has a way of its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fedpers import seeds
from fedpers.data.images import Pixels
from fedpers.errors import UserError

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Shift:
    """No shift at all.

    Args:
        groups: Number of groups of clients that share a shift; None for a shift of each client's own.
    """

    groups: int | None

    def __post_init__(self) -> None:
        """Check the number of groups."""
        if self.groups is not None and self.groups < 1:
            raise UserError(f"shift.groups={self.groups} is not possible. Accepted: at least 1, or null")

    def generator(self, seed: int, purpose: str, client: int) -> np.random.Generator:
        """Return the random stream of a client's group, or of the client."""
        return seeds.numpy_generator(seed, purpose, client=client if self.groups is None else client % self.groups)

    def apply(self, pixels: Pixels, labels: Labels, client: int, seed: int, num_classes: int) -> tuple[Pixels, Labels]:
        """Return a client's samples as it sees them.

        Args:
            pixels: (n, H, W, C).
            labels: (n,).
            client: The client's number.
            seed: The run's seed.
            num_classes: Number of classes.
        """
        return pixels, labels


@dataclass(frozen=True)
class FeatureShift(Shift):
    """Every client has a camera of its own: images are rotated, blurred, of more or less contrast, and noisy.

    The strength of each is drawn evenly from 0 to its largest value. Li et al., "Federated Learning on Non-IID Data
    Silos" (ICDE 2022, https://arxiv.org/abs/2102.02079), section 3.2, have the noise; Ghosh et al., "An Efficient
    Framework for Clustered Federated Learning" (NeurIPS 2020, https://arxiv.org/abs/2006.04088), rotate by group.

    Args:
        rotation: Largest angle in degrees, to either side.
        blur: Largest standard deviation of a Gaussian blur, in pixels.
        contrast: Contrast is multiplied by a factor between 1 - contrast and 1 + contrast.
        noise: Largest standard deviation of Gaussian noise, pixels scaled to [0, 1].
    """

    rotation: float
    blur: float
    contrast: float
    noise: float

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        for key, most in (("rotation", 180.0), ("blur", 100.0), ("contrast", 1.0), ("noise", 1.0)):
            if not 0 <= getattr(self, key) <= most:
                raise UserError(f"shift.{key}={getattr(self, key)} is not possible. Accepted: 0 to {most:g}")

    def apply(self, pixels: Pixels, labels: Labels, client: int, seed: int, num_classes: int) -> tuple[Pixels, Labels]:
        """Return the images as the client's camera sees them.

        Raises:
            UserError: the images are floats, whose range nobody knows.
        """
        if pixels.dtype != np.uint8:
            raise UserError("shift=features is for images of bytes, from 0 to 255. Accepted here: shift=none|labels")
        camera = self.generator(seed, "camera", client)
        angle, sigma = camera.uniform(-self.rotation, self.rotation), camera.uniform(0, self.blur)
        factor, std = camera.uniform(1 - self.contrast, 1 + self.contrast), camera.uniform(0, self.noise)
        images = pixels.astype(np.float32)
        if angle:
            images = ndimage.rotate(images, angle, axes=(1, 2), reshape=False, order=1, mode="nearest")
        if sigma:
            images = ndimage.gaussian_filter(images, (0, sigma, sigma, 0))
        if factor != 1:
            middle = images.mean((1, 2, 3), keepdims=True)
            images = middle + factor * (images - middle)
        if std:
            grain = seeds.numpy_generator(seed, "grain", client=client)
            images = images + 255 * std * grain.standard_normal(images.shape, dtype=np.float32)
        return np.clip(np.rint(images), 0, 255).astype(np.uint8), labels


@dataclass(frozen=True)
class LabelShift(Shift):
    """Concept shift: every client calls some classes by each other's names.

    Marfoq et al., "Federated Multi-Task Learning under a Mixture of Distributions" (NeurIPS 2021,
    https://arxiv.org/abs/2108.10252), and Ghosh et al. (2020) permute labels by group of clients.

    Args:
        classes: Classes whose names are permuted, drawn for each client or group; None for all.
    """

    classes: int | None

    def apply(self, pixels: Pixels, labels: Labels, client: int, seed: int, num_classes: int) -> tuple[Pixels, Labels]:
        """Return the labels as the client gives them."""
        size = num_classes if self.classes is None else self.classes
        if not 2 <= size <= num_classes:
            raise UserError(f"shift.classes={self.classes} is not possible. Accepted: 2 to {num_classes}, or null")
        generator = self.generator(seed, "names", client)
        chosen = generator.choice(num_classes, size, replace=False)
        names = np.arange(num_classes)
        names[chosen] = generator.permutation(chosen)
        return pixels, names[labels]
