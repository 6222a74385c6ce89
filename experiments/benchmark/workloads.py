"""What is timed: federations of random images, so that nothing but speed depends on them."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from experiments.machinery.study import merge
from fedpers import seeds
from fedpers.config.compose import compose_config
from fedpers.config.keys import Config
from fedpers.data.shards import CLIENTS, FORMAT, Shards

CHUNK = 10_000
"""Clients whose images are drawn at a time: 157 MB of W2's."""


@dataclass(frozen=True)
class Workload:
    """A federation to be timed, without evaluation.

    Args:
        name: What tables call it.
        about: What it stands for.
        num_clients: Number of clients.
        num_sampled: Clients that train in a round.
        samples: Training samples of each client.
        shape: An image's height, width and channels.
        num_classes: Number of classes.
        batch_size: Samples in a batch.
        model: Overrides that choose the model.
        algorithm: Overrides that choose the algorithm.
        local_epochs: Passes of a client over its samples in a round.
        held_out: Further samples of each client, to tune on and to test on.
    """

    name: str
    about: str
    num_clients: int
    num_sampled: int
    samples: int
    shape: tuple[int, int, int]
    num_classes: int
    batch_size: int
    model: tuple[str, ...]
    algorithm: tuple[str, ...] = ("strategy=fedavg",)
    local_epochs: int = 1
    held_out: tuple[int, int] = (0, 0)

    def config(self, rounds: int, out: Path, engine: tuple[str, ...]) -> Config:
        """Return the configuration of a run; its dataset and partition are never read, since `shards` is."""
        settings = (
            f"rounds={rounds}",
            f"batch_size={self.batch_size}",
            f"local_epochs={self.local_epochs}",
            "lr=0.05",
            "eval_every=0",
            "checkpoint_every=0",
            "save=none",
            f"participation={self.num_sampled / self.num_clients}",
            "finetune_epochs=0",
            "figures=[]",
            f"out={out}",
        )
        return compose_config(list(merge(self.algorithm, settings, self.model, engine)))

    def shards(self, folder: Path) -> Shards:
        """Open the prepared data in a folder, after drawing them if they are not there; nothing is held in memory."""
        if not (folder / "manifest.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            self._draw(folder)
        return Shards(folder)

    def _draw(self, folder: Path) -> None:
        held = self.samples + sum(self.held_out)
        total = self.num_clients * held
        pixels = open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(total, *self.shape))
        labels = open_memmap(folder / "labels.npy", mode="w+", dtype=np.int64, shape=(total,))
        for start in range(0, total, CHUNK * held):
            generator = seeds.numpy_generator(0, "benchmark", client=start)
            rows = slice(start, min(start + CHUNK * held, total))
            size = rows.stop - rows.start
            pixels[rows] = np.frombuffer(generator.bytes(size * int(np.prod(self.shape))), np.uint8).reshape(
                size, *self.shape
            )
            labels[rows] = generator.integers(self.num_classes, size=size)
        pixels.flush()
        labels.flush()
        starts = np.arange(self.num_clients) * held
        ends = self.samples + np.cumsum((0, *self.held_out))
        np.save(folder / "bounds.npy", np.column_stack([starts, *(starts + end for end in ends)]))
        (folder / CLIENTS).touch()
        height, width, channels = self.shape
        manifest = {
            "format": FORMAT,
            "dataset": f"benchmark-{self.name}",
            "dataset_sha256": "",
            "assignment_sha256": "",
            "mean": [0.5] * channels,
            "std": [0.25] * channels,
            "num_classes": self.num_classes,
            "shape": [channels, height, width],
            "num_clients": self.num_clients,
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))


W1 = Workload(
    "W1",
    "cross-device FedAvg: 100 clients of 500 images of 32x32x3, 10 sampled",
    num_clients=100,
    num_sampled=10,
    samples=500,
    shape=(32, 32, 3),
    num_classes=10,
    batch_size=32,
    model=("model=cnn", "model.channels=[32,64]", "model.kernel_size=5", "model.hidden=[512]"),
)
W2 = Workload(
    "W2",
    "many tiny clients: 1,000 clients of 20 images of 28x28x1, 100 sampled",
    num_clients=1_000,
    num_sampled=100,
    samples=20,
    shape=(28, 28, 1),
    num_classes=62,
    batch_size=20,
    model=("model=cnn", "model.channels=[16,32]", "model.kernel_size=3", "model.hidden=[]"),
)
W3 = Workload(
    "W3",
    "the flagship: FedD2S on 100 writers of 120 images of 8x8x1, 62 classes, two local epochs, all taking part",
    num_clients=100,
    num_sampled=100,
    samples=120,
    shape=(8, 8, 1),
    num_classes=62,
    batch_size=20,
    model=("model=cnn_small",),
    algorithm=("strategy=fedd2s",),
    local_epochs=2,
    held_out=(30, 50),
)
WORKLOADS = {workload.name: workload for workload in (W1, W2, W3)}


def scaled(base: Workload, *, num_clients: int | None = None, num_sampled: int | None = None) -> Workload:
    """Return a workload with other numbers of clients."""
    return dataclasses.replace(
        base, num_clients=num_clients or base.num_clients, num_sampled=num_sampled or base.num_sampled
    )
