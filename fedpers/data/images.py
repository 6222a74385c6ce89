"""A dataset in memory: what every loader returns."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpers.errors import UserError


@dataclass(frozen=True)
class Images:
    """Labelled images, official train and test sets merged.

    Args:
        name: The dataset's name, for manifests.
        pixels: (N, H, W, C) in uint8.
        labels: (N,) in int64, from 0 to `num_classes` - 1.
        num_classes: Number of classes.
        mean: Mean of each channel, pixels scaled to [0, 1].
        std: Standard deviation of each channel, likewise.
    """

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check shapes, labels and normalization against each other."""
        channels = self.pixels.shape[-1]
        if self.pixels.ndim != 4 or len(self.pixels) != len(self.labels):
            raise UserError(
                f"dataset {self.name}: {len(self.labels)} labels do not fit images of shape {self.pixels.shape}"
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < self.num_classes:
            raise UserError(
                f"dataset {self.name}: labels run from {self.labels.min()} to {self.labels.max()}. "
                f"Accepted: 0 to {self.num_classes - 1}"
            )
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels:
                raise UserError(
                    f"dataset.{key}={list(values)} does not fit images of {channels} channel(s). "
                    f"Accepted: {channels} number(s)"
                )
        if min(self.std) <= 0:
            raise UserError(f"dataset.std={list(self.std)} is not possible. Accepted: numbers above 0")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image as a model sees it: channels, height, width."""
        _, height, width, channels = self.pixels.shape
        return channels, height, width

    def sha256(self) -> str:
        """Return a hash of all pixels and labels."""
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        digest.update(self.labels.astype("<i8").data)
        return digest.hexdigest()
