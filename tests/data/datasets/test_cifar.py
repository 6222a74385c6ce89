"""CIFAR-10 and CIFAR-100, in the binary and in the Python version."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from ondisk import CIFAR10_TRAIN, load, planar, write_cifar10_binary, write_cifar10_python, write_cifar100_binary
from torchvision.datasets import CIFAR10

from fedpers.data.datasets.cifar import superclasses
from fedpers.errors import UserError


def test_cifar10_reads_what_was_written(tmp_path: Path) -> None:
    pixels, labels = write_cifar10_binary(tmp_path, 3)
    images = load("cifar10", tmp_path)
    assert len(images.labels) == 18
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    assert images.labels.dtype == np.int64
    assert images.shape == (3, 32, 32)
    assert images.num_classes == 10


def test_cifar100_reads_fine_labels(tmp_path: Path) -> None:
    pixels, labels = write_cifar100_binary(tmp_path, 6, 4)
    images = load("cifar100", tmp_path)
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    assert images.num_classes == 100
    assert labels.max() > 19  # no coarse label is


def test_cifar100_reads_coarse_labels(tmp_path: Path) -> None:
    pixels, _ = write_cifar100_binary(tmp_path, 6, 4)
    raw = [(tmp_path / "cifar-100-binary" / f"{part}.bin").read_bytes()[::3074] for part in ("train", "test")]
    images = load("cifar100", tmp_path, labels="coarse")
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, np.frombuffer(b"".join(raw), np.uint8))
    assert images.num_classes == 20
    assert images.name == "cifar100_coarse"
    with pytest.raises(UserError, match=r"dataset\.labels 'corse'.*Did you mean 'coarse'\?"):
        load("cifar100", tmp_path, labels="corse")


def test_superclasses_of_cifar100() -> None:
    coarse = superclasses()
    assert np.bincount(coarse).tolist() == [5] * 20
    # apple is food, aquarium_fish a fish, baby a person, bear a carnivore, willow_tree a tree, worm an invertebrate
    assert coarse[[0, 1, 2, 3, 96, 99]].tolist() == [4, 1, 14, 8, 17, 13]


def test_cifar_channels_are_red_green_blue_planes(tmp_path: Path) -> None:
    write_cifar10_binary(tmp_path, 1)
    plane = bytearray(1024)
    plane[5 * 32 + 9] = 77  # row 5, column 9
    record = bytes([4]) + bytes(plane) + bytes([1]) * 1024 + bytes([2]) * 1024
    (tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin").write_bytes(record)
    images = load("cifar10", tmp_path)
    assert images.labels[0] == 4
    assert images.pixels[0, 5, 9].tolist() == [77, 1, 2]
    assert images.pixels[0, 9, 5].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        *(("cifar10", f"cifar-10-batches-bin/{batch}.bin") for batch in (*CIFAR10_TRAIN, "test_batch")),
        ("cifar100", "cifar-100-binary/train.bin"),
        ("cifar100", "cifar-100-binary/test.bin"),
    ],
)
def test_missing_and_damaged_cifar_files_are_named(tmp_path: Path, name: str, file: str) -> None:
    write_cifar10_binary(tmp_path, 2)
    write_cifar100_binary(tmp_path, 2, 2)
    path = tmp_path / file
    content = path.read_bytes()
    for damaged in (content[:-1], content + b"\0", b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError) as caught:
            load(name, tmp_path)
        assert f"{path} holds {len(damaged)} bytes" in str(caught.value)
    path.unlink()
    with pytest.raises(UserError) as caught:
        load(name, tmp_path)
    assert f"{path} is missing" in str(caught.value)


def test_cifar10_with_an_impossible_label(tmp_path: Path) -> None:
    write_cifar10_binary(tmp_path, 1)
    record = bytes([10]) + planar(np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(record)
    with pytest.raises(UserError, match="Accepted: 0 to 9"):
        load("cifar10", tmp_path)


# CIFAR, Python version


def test_python_version_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pixels, labels), checksums = write_cifar10_python(tmp_path)
    monkeypatch.setattr(CIFAR10, "train_list", [[name, checksums[name]] for name in CIFAR10_TRAIN])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", checksums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": checksums["batches.meta"]})
    images = load("cifar10", tmp_path)
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize(
    ("name", "folder", "files"),
    [
        ("cifar10", "cifar-10-batches-py", [*CIFAR10_TRAIN, "test_batch", "batches.meta"]),
        ("cifar100", "cifar-100-python", ["train", "test", "meta"]),
    ],
)
def test_pickle_with_a_wrong_checksum_is_never_opened(tmp_path: Path, name: str, folder: str, files: list[str]) -> None:
    trap = pickle.dumps(Trap(tmp_path / "trapped"))
    (tmp_path / folder).mkdir()
    for file in files:
        (tmp_path / folder / file).write_bytes(trap)
    with pytest.raises(UserError, match=f"{folder} differ from the published ones.*the binary version"):
        load(name, tmp_path)
    assert not (tmp_path / "trapped").exists()
    pickle.loads(trap)  # otherwise the trap would prove nothing
    assert (tmp_path / "trapped").is_dir()


@pytest.mark.parametrize(("name", "member"), [("cifar10", "data_batch_1.bin"), ("cifar100", "train.bin")])
def test_missing_records_are_noticed_unless_any_number_will_do(name: str, member: str, tmp_path: Path) -> None:
    """A file that was cut between two records is whole but for its length."""
    write = write_cifar10_binary if name == "cifar10" else write_cifar100_binary
    write(tmp_path)
    with pytest.raises(UserError, match=rf"{member} holds \d+ images, where \d0,000 were published.*complete=false"):
        load(name, tmp_path, complete=True)
