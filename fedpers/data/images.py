"""A dataset in memory: what every loader returns, checked, whoever wrote the loader."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpers.errors import UserError

CHUNK = 10_000
"""Images that are looked at together, so that a large dataset need not fit into memory twice."""


CHANNELS = (1, 2, 3, 4)
"""As many values for each point make an image whatever its height and width are."""

Pixels = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Images:
    """Labelled images, official train and test sets merged.

    Whole numbers of other types than named below are turned into those, float64 and float16 into float32, and images
    whose channels come first, (N, C, H, W), as PyTorch has them, are turned round; all else is refused.

    Args:
        name: The dataset's name, for manifests.
        pixels: (N, H, W, C), in uint8, from 0 to 255; or in float32, which models are given as they are, but for
            the normalization.
        labels: (N,) in int64, from 0 to `num_classes` - 1.
        num_classes: Number of classes.
        mean: Mean of each channel, bytes scaled to [0, 1], floats as they are; None to measure it on all images.
        std: Standard deviation of each channel, likewise.
        owners: (N,) in int64, from 0: whose each sample is by nature, e.g. the writer; None if nobody knows.
        classes: What each class is called, or was numbered in the files; None if nobody knows.

    Raises:
        UserError: these are not such images, labels or owners, or they do not fit each other.
    """

    name: str
    pixels: Pixels
    labels: NDArray[np.int64]
    num_classes: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    owners: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check everything by itself and against each other."""
        labels = _whole(self.labels, "labels", self.name)
        pixels = _images(self.pixels, self.name)
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "labels", labels)
        if len(pixels) != len(labels):
            raise UserError(f"dataset {self.name}: {len(labels)} labels do not fit images of shape {pixels.shape}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise UserError(
                f"dataset {self.name}: labels run from {labels.min()} to {labels.max()}. "
                f"Accepted: 0 to {self.num_classes - 1}"
            )
        if self.owners is not None:
            owners = _whole(self.owners, "owners", self.name)
            object.__setattr__(self, "owners", owners)
            if len(owners) != len(labels):
                raise UserError(f"dataset {self.name}: {len(owners)} owners do not fit {len(labels)} images")
            if len(owners) and owners.min() < 0:
                raise UserError(f"dataset {self.name}: an owner is numbered {owners.min()}. Accepted: 0 and above")
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise UserError(f"dataset {self.name}: {len(self.classes)} names do not fit {self.num_classes} classes")
        check_normalization(self.mean, self.std, pixels.shape[-1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image as a model sees it: channels, height, width."""
        _, height, width, channels = self.pixels.shape
        return channels, height, width

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, as given or as measured, to four decimals (floats: digits)."""
        mean, std = self._moments if self.mean is None or self.std is None else ((), ())
        return self.mean or mean, self.std or std

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel: of bytes from their histogram, so equal on every machine."""
        if self.pixels.dtype != np.uint8:
            return _moments_of_floats(self.pixels)
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
        kind = "" if self.pixels.dtype == np.uint8 else str(self.pixels.dtype)
        digest = hashlib.sha256(f"{self.pixels.shape}{kind}".encode())
        for start in range(0, len(self.pixels), CHUNK):
            digest.update(np.ascontiguousarray(self.pixels[start : start + CHUNK]).data)
        digest.update(self.labels.astype("<i8").data)
        if self.owners is not None:
            digest.update(self.owners.astype("<i8").data)
        return digest.hexdigest()


def check_normalization(mean: Sequence[float] | None, std: Sequence[float] | None, channels: int) -> None:
    """Raise a UserError unless images of so many channels can be normalized so."""
    for key, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise UserError(
                f"dataset.{key}={list(values)} does not fit images of {channels} channel(s). "
                f"Accepted: {channels} number(s)"
            )
        if values is not None and not np.isfinite(values).all():
            raise UserError(f"dataset.{key}={list(values)} is not possible. Accepted: finite numbers")
    if std is not None and min(std) <= 0:
        raise UserError(f"dataset.std={list(std)} is not possible. Accepted: numbers above 0")


def _whole(values: Any, what: str, name: str) -> NDArray[np.int64]:
    """Return whole numbers, (N,), in int64."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of several lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "iub" or array.ndim != 1:
        raise UserError(
            f"dataset {name}: its {what} are of type {array.dtype} and shape {array.shape}. Accepted: whole numbers, "
            "one for each image"
        )
    if array.dtype == np.uint64 and len(array) and array.max() > np.iinfo(np.int64).max:
        raise UserError(f"dataset {name}: its {what} reach {array.max()}. Accepted: numbers below 2^63")
    return array.astype(np.int64, copy=False)


def _images(values: Any, name: str) -> Pixels:
    """Return images, (N, H, W, C), in uint8 or float32."""
    array = np.asarray(values)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise UserError(
            f"dataset {name}: its pixels are of type {array.dtype}. Accepted: uint8 (0 to 255), or floats, which are "
            "used as they are"
        )
    if array.ndim != 4 or 0 in array.shape[1:]:
        grey = "; grey images need a last axis: pixels[..., None]" if array.ndim == 3 else ""
        raise UserError(
            f"dataset {name}: its pixels are of shape {array.shape}. Accepted: (images, height, width, channels){grey}"
        )
    array = np.moveaxis(array, _channel_axis(array.shape[1:], name), -1)
    if array.dtype == np.uint8:
        return array
    for start in range(0, len(array), CHUNK):
        with np.errstate(over="ignore"):
            finite = np.isfinite(array[start : start + CHUNK].astype(np.float32)).all(axis=(1, 2, 3))
        if not finite.all():
            raise UserError(
                f"dataset {name}: image {start + int(np.argmin(finite))} has pixels that are not finite numbers. "
                "Remove or mend it"
            )
    return array.astype(np.float32, copy=False)


def _channel_axis(shape: Sequence[int], name: str) -> int:
    """Return which axis of an array of images has the channels: the last one, or the first of one image."""
    last, first = shape[2], shape[0]
    if last in CHANNELS or (first not in CHANNELS and last < min(shape[:2])):
        return 3
    if first in CHANNELS or first < min(shape[1:]):
        return 1
    raise UserError(
        f"dataset {name}: images of shape {tuple(shape)}, of which nobody can tell where the channels are. Accepted: "
        "(height, width, channels), with fewer channels than height and width have points"
    )


def _moments_of_floats(pixels: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, to four digits."""
    parts = [pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK)]
    total = pixels.size // pixels.shape[-1]
    mean = sum(part.sum((0, 1, 2), np.float64) for part in parts) / total
    square = sum(np.square(part - mean).sum((0, 1, 2)) for part in parts) / total
    return (
        tuple(float(f"{value:.4g}") for value in mean),
        tuple(float(f"{value:.4g}") or 1.0 for value in np.sqrt(square)),
    )
