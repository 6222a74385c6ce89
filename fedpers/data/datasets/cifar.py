"""CIFAR-10 and CIFAR-100: 60,000 colour images, 32x32, in 10 classes, or in 100 that form 20 superclasses.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html.

Two of the published forms are read. The binary one is preferred: it is plain bytes. The Python one consists of
pickles, which could run anything when they are opened; torchvision opens them only after it has compared each file
with its published checksum.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchvision.datasets import CIFAR10, CIFAR100

from fedpers.data import files
from fedpers.data.images import Images
from fedpers.errors import UserError, unknown_name

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Form:
    """The published forms of one dataset; in the binary one a record is label bytes and then the pixels."""

    name: str
    folder: str
    members: tuple[str, ...]
    counts: tuple[int, ...]
    label_bytes: int
    num_classes: int
    torchvision: Any
    label_byte: int = 0

    @property
    def accepted(self) -> tuple[str, ...]:
        return (
            f"{self.folder}/{{{','.join(self.members)}}} (the binary version)",
            f"{self.torchvision.base_folder}/ (the Python version)",
        )


_CIFAR10 = _Form(
    "cifar10",
    "cifar-10-batches-bin",
    (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
    (10_000,) * 6,
    label_bytes=1,
    num_classes=10,
    torchvision=CIFAR10,
)
_CIFAR100 = {
    labels: _Form(
        name,
        "cifar-100-binary",
        ("train.bin", "test.bin"),
        (50_000, 10_000),
        label_bytes=2,  # coarse, fine
        num_classes=num_classes,
        torchvision=CIFAR100,
        label_byte=label_byte,
    )
    for label_byte, (labels, name, num_classes) in enumerate(
        (("coarse", "cifar100_coarse", 20), ("fine", "cifar100", 100))
    )
}

_SUPERCLASSES = """
beaver dolphin otter seal whale
aquarium_fish flatfish ray shark trout
orchid poppy rose sunflower tulip
bottle bowl can cup plate
apple mushroom orange pear sweet_pepper
clock keyboard lamp telephone television
bed chair couch table wardrobe
bee beetle butterfly caterpillar cockroach
bear leopard lion tiger wolf
bridge castle house road skyscraper
cloud forest mountain plain sea
camel cattle chimpanzee elephant kangaroo
fox porcupine possum raccoon skunk
crab lobster snail spider worm
baby boy girl man woman
crocodile dinosaur lizard snake turtle
hamster mouse rabbit shrew squirrel
maple_tree oak_tree palm_tree pine_tree willow_tree
bicycle bus motorcycle pickup_truck train
lawn_mower rocket streetcar tank tractor
"""
"""CIFAR-100's superclasses, in the order of their numbers, by the names of their classes, which are numbered by the
alphabet; as the dataset's page has them."""


def cifar10(
    root: str, *, download: bool, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, complete: bool = True
) -> Images:
    """Load CIFAR-10, train and test merged; see `_load`."""
    return _load(_CIFAR10, root, download, complete, mean, std)


def cifar100(
    root: str,
    *,
    labels: str,
    download: bool,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    complete: bool = True,
) -> Images:
    """Load CIFAR-100 with its 100 `fine` or its 20 `coarse` labels, train and test merged; see `_load`."""
    if labels not in _CIFAR100:
        raise unknown_name("dataset.labels", labels, _CIFAR100)
    return _load(_CIFAR100[labels], root, download, complete, mean, std)


def superclasses() -> NDArray[np.int64]:
    """Return the coarse label of each of CIFAR-100's fine labels: (100,)."""
    coarse = {name: number for number, line in enumerate(_SUPERCLASSES.split("\n")[1:-1]) for name in line.split()}
    return np.array([coarse[name] for name in sorted(coarse)])


def _load(
    form: _Form,
    root: str,
    download: bool,
    complete: bool,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> Images:
    """Load all images.

    Args:
        form: Which dataset.
        root: Folder that holds the published folder.
        download: Let torchvision download the Python version when there is none.
        complete: Files of the binary version must hold as many images as were published; the others have checksums.
        mean: Mean of each channel.
        std: Standard deviation of each channel.

    Raises:
        UserError: files are missing or damaged.
    """
    folder = Path(root).expanduser()
    if (folder / form.folder).is_dir():
        pixels, labels = _read_binary(form, folder, complete)
    else:
        pixels, labels = _read_python(form, folder, download)
    return Images(form.name, pixels, labels, form.num_classes, mean, std)


def _read_binary(form: _Form, root: Path, complete: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    record = form.label_bytes + _PIXELS
    parts: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    for member, count in zip(form.members, form.counts, strict=True):
        path = root / form.folder / member
        if not path.is_file():
            raise files.missing(form.name, root, form.accepted, f"{path} is missing")
        data = np.fromfile(path, np.uint8)
        if not data.size or data.size % record:
            raise UserError(
                f"{path} holds {data.size} bytes, which is not a number of records of {record} bytes: it is "
                "truncated or no CIFAR file. Remove it and fetch it again"
            )
        parts.append(data.reshape(-1, record))
        files.check_count(len(parts[-1]), count, str(path), complete=complete)
        labels.append(parts[-1][:, form.label_byte].astype(np.int64))
        files.check_labels(labels[-1], 0, form.num_classes - 1, str(path))
    planes = np.concatenate(parts)[:, form.label_bytes :].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.concatenate(labels)


def _read_python(form: _Form, root: Path, download: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if download:
        files.download(form.name, root, form.accepted, lambda: form.torchvision(str(root), download=True))
    elif not (root / form.torchvision.base_folder).is_dir():
        raise files.missing(form.name, root, form.accepted)
    try:
        parts = [form.torchvision(str(root), train=train) for train in (True, False)]
    except RuntimeError as error:  # a checksum differs
        raise UserError(
            f"the files in {root / form.torchvision.base_folder} differ from the published ones (torchvision: "
            f"{error}). Remove the folder and fetch it again, or use the binary version, {form.accepted[0]}"
        ) from error
    pixels = np.concatenate([part.data for part in parts])
    labels = np.concatenate([np.asarray(part.targets, np.int64) for part in parts])
    if form.name == "cifar100_coarse":  # torchvision reads the fine ones
        labels = superclasses()[labels]
    return pixels, labels
