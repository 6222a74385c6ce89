"""Prepared data: every client's samples side by side on disk, memory-mapped, with a manifest.

A prepared folder is named by a hash of all that determines it, and appears at once, complete, under its name:

    pixels.npy    (N, H, W, C) uint8 or float32, ordered by client and, within a client, train, validation, test
    labels.npy    (N,) int64, likewise
    index.npy     (N,) int64, each sample's position in the dataset (official train set, then test set)
    bounds.npy    (clients, 4) int64: where a client's train, validation and test parts begin, and its end
    clients.parquet each client's sizes and label histogram
    manifest.json what it is made of, and the checksums of the others

`fedpers.data.prepare` makes it.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedpers.device import CPU, fits, to_device
from fedpers.training import Split

FORMAT = 6
CLIENTS = "clients.parquet"
MANIFEST = "manifest.json"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ClientData:
    """One client's samples; each split is read from disk and normalized when it is first asked for.

    Args:
        pixels: (n, H, W, C) in uint8 or float32: all the client's samples.
        labels: (n,) in int64, on the CPU.
        ends: Where train, validation and test end among them.
        mean: Mean of each channel, in units of pixel values.
        std: Standard deviation of each channel, likewise.
        num_classes: Number of classes in the whole dataset.
        device: Where the splits go; the pixels are there already, or on the CPU.
        public: Samples that no client holds and all may look at; None if there are none.
    """

    pixels: Tensor
    labels: Tensor
    ends: tuple[int, int, int]
    mean: Tensor
    std: Tensor
    num_classes: int
    device: torch.device = CPU
    public: Split | None = None

    @cached_property
    def train(self) -> Split:
        """The samples that the client may train on."""
        return self._split(0, self.ends[0])

    @cached_property
    def val(self) -> Split:
        """The samples that rounds and hyper-parameters are chosen on; may be empty."""
        return self._split(self.ends[0], self.ends[1])

    @cached_property
    def test(self) -> Split:
        """The samples that results are reported on."""
        return self._split(self.ends[1], self.ends[2])

    def with_train(self, train: Split) -> "ClientData":
        """Return the same client with other samples to train on."""
        other = copy.copy(self)
        other.__dict__["train"] = train
        return other

    def _split(self, start: int, end: int) -> Split:
        return normalized(self.pixels[start:end], self.labels[start:end], self.mean, self.std, self.device)


def normalized(pixels: Tensor, labels: Tensor, mean: Tensor, std: Tensor, device: torch.device) -> Split:
    """Return images (n, H, W, C), of bytes or floats, as samples on a device, each channel with mean 0, deviation 1."""
    images = to_device(pixels, device).to(torch.float32, copy=True)
    mean, std = to_device(mean, device), to_device(std, device)
    return Split(images.sub_(mean).div_(std).permute(0, 3, 1, 2), to_device(labels.clone(), device))


def pixel_scale(mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and standard deviation in units of pixel values: of bytes they are told for 0 to 1."""
    unit = 255 if dtype == torch.uint8 else 1
    own_mean, own_std = (torch.tensor(each, dtype=torch.float32) * unit for each in (mean, std))
    return own_mean, own_std


class Shards:
    """A prepared folder, opened without reading the images."""

    def __init__(self, folder: Path) -> None:
        """Map the arrays into memory."""
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        self._pixels = _map(folder / "pixels.npy")
        self._labels = _map(folder / "labels.npy")
        self._bounds = np.load(folder / "bounds.npy")
        self._resident: dict[str, Tensor] = {}
        self._public: dict[str, Split] = {}

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Samples of each client, all splits together: (clients,)."""
        sizes: NDArray[np.int64] = self._bounds[:, -1] - self._bounds[:, 0]
        return sizes

    @property
    def num_clients(self) -> int:
        """Number of clients."""
        return len(self._bounds)

    @property
    def num_classes(self) -> int:
        """Number of classes in the whole dataset."""
        return int(self.manifest["num_classes"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image as a model sees it: channels, height, width."""
        channels, height, width = self.manifest["shape"]
        return channels, height, width

    @property
    def classes(self) -> list[str] | None:
        """What the classes are called, or were numbered in the files; None if nobody knows."""
        found: list[str] | None = self.manifest.get("classes")
        return found

    @cached_property
    def label_histogram(self) -> NDArray[np.int64]:
        """Samples of each class that each client holds: (clients, classes)."""
        rows = pq.read_table(self.folder / CLIENTS, columns=["label_histogram"])["label_histogram"]
        histogram: NDArray[np.int64] = rows.combine_chunks().flatten().to_numpy().reshape(self.num_clients, -1)
        return histogram

    @property
    def split_sizes(self) -> NDArray[np.int64]:
        """Training, validation and test samples of each client: (clients, 3)."""
        sizes: NDArray[np.int64] = np.diff(self._bounds, axis=1)
        return sizes

    def samples(self, number: int, count: int) -> NDArray[np.uint8]:
        """Return a client's first training images, to be looked at: (at most count, H, W, C).

        Of floats, three standard deviations to both sides of the mean are shown; of channels that no screen has, one.
        """
        start, end = self._bounds[number, :2]
        pixels = self._pixels[start : min(end, start + count)]
        if pixels.dtype != torch.uint8:
            mean, std = self._scale
            pixels = ((pixels - mean) / std * (127.5 / 3) + 127.5).clamp(0, 255).to(torch.uint8)
        return pixels.numpy() if pixels.shape[-1] in (1, 3) else pixels[..., :1].numpy()

    def client(self, number: int, device: torch.device = CPU) -> ClientData:
        """Return one client's samples, for use on a device.

        An accelerator keeps the images of all clients, as they are on disk, if they take a small part of its memory;
        otherwise each client's are copied when they are asked for.
        """
        start, *ends = (int(bound) for bound in self._bounds[number])
        mean, std = self._scale
        return ClientData(
            pixels=self._pixels_on(device)[start : ends[-1]],
            labels=self._labels[start : ends[-1]],
            ends=(ends[0] - start, ends[1] - start, ends[2] - start),
            mean=mean,
            std=std,
            num_classes=self.num_classes,
            device=device,
            public=self.public(device) if self.manifest.get("public_samples") else None,
        )

    def public(self, device: torch.device = CPU) -> Split:
        """Return the samples that no client holds."""
        if device.type not in self._public:
            start = int(self._bounds[-1, -1])
            self._public[device.type] = normalized(self._pixels[start:], self._labels[start:], *self._scale, device)
        return self._public[device.type]

    def _pixels_on(self, device: torch.device) -> Tensor:
        """Return all pixels: those on the accelerator if they may stay there, those of the file otherwise."""
        if device == CPU:
            return self._pixels
        if device.type not in self._resident:
            stay = fits(self._pixels.nbytes, device)
            self._resident[device.type] = self._pixels.to(device) if stay else self._pixels
        return self._resident[device.type]

    @cached_property
    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, in units of pixel values."""
        return pixel_scale(self.manifest["mean"], self.manifest["std"], self._pixels.dtype)


def _map(path: Path) -> Tensor:
    """Open an array without reading it; what is written to the tensor would stay in this process."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))
