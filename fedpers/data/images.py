"""A dataset in memory: what every loader returns."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedpers.errors import UserError

CHUNK = 10_000
"""Images that are looked at together, so that a large dataset need not fit into memory twice."""


@dataclass(frozen=True)
class Images:
    """Labelled images, official train and test sets merged.

    Args:
        name: The dataset's name, for manifests.
        pixels: (N, H, W, C) in uint8.
        labels: (N,) in int64, from 0 to `num_classes` - 1.
        num_classes: Number of classes.
        mean: Mean of each channel, pixels scaled to [0, 1]; None to measure it on all images.
        std: Standard deviation of each channel, likewise.
        owners: (N,) in int64, from 0: whose each sample is by nature, e.g. the writer; None if nobody knows.
    """

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    num_classes: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    owners: NDArray[np.int64] | None = None

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
        if self.owners is not None and len(self.owners) != len(self.labels):
            raise UserError(f"dataset {self.name}: {len(self.owners)} owners do not fit {len(self.labels)} images")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != channels:
                raise UserError(
                    f"dataset.{key}={list(values)} does not fit images of {channels} channel(s). "
                    f"Accepted: {channels} number(s)"
                )
        if self.std is not None and min(self.std) <= 0:
            raise UserError(f"dataset.std={list(self.std)} is not possible. Accepted: numbers above 0")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image as a model sees it: channels, height, width."""
        _, height, width, channels = self.pixels.shape
        return channels, height, width

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, as given or as measured, to four decimals."""
        mean, std = self._moments if self.mean is None or self.std is None else ((), ())
        return self.mean or mean, self.std or std

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, from its histogram: whole numbers, so equal on every machine."""
        counts = np.zeros((self.pixels.shape[-1], 256), np.int64)
        for start in range(0, len(self.pixels), CHUNK):
            for channel, values in enumerate(np.moveaxis(self.pixels[start : start + CHUNK], -1, 0)):
                counts[channel] += np.bincount(values.ravel(), minlength=256)
        levels, total = np.arange(256) / 255, counts.sum(1)
        mean = counts @ levels / total
        std = np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0))
        return tuple(float(round(m, 4)) for m in mean), tuple(float(round(s, 4)) or 1.0 for s in std)

    def sha256(self) -> str:
        """Return a hash of all pixels, labels and owners."""
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        digest.update(self.labels.astype("<i8").data)
        if self.owners is not None:
            digest.update(self.owners.astype("<i8").data)
        return digest.hexdigest()
