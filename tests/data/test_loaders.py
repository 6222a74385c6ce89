"""Loaders against files that the tests write in the published formats."""

import gzip
import os
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from ondisk import (
    CIFAR10_TRAIN,
    FASHION_MNIST_NAMES,
    fashion_mnist_folder,
    idx,
    planar,
    write_cifar10_binary,
    write_cifar10_python,
    write_cifar100_binary,
    write_fashion_mnist,
)
from torchvision.datasets import CIFAR10

from fedpers.data.cifar import cifar10, cifar100
from fedpers.data.digits import digits
from fedpers.data.fashion_mnist import fashion_mnist
from fedpers.data.images import Images
from fedpers.errors import UserError

LOADERS = {"cifar10": cifar10, "cifar100": cifar100, "fashion_mnist": fashion_mnist}
FORMS = {
    "cifar10": [
        "cifar-10-batches-bin/{data_batch_1.bin,data_batch_2.bin,data_batch_3.bin,data_batch_4.bin,"
        "data_batch_5.bin,test_batch.bin}",
        "cifar-10-batches-py/",
    ],
    "cifar100": ["cifar-100-binary/{train.bin,test.bin}", "cifar-100-python/"],
    "fashion_mnist": ["FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]", "directly"],
}


def load(name: str, root: Path, download: bool = False) -> Images:
    channels = 1 if name == "fashion_mnist" else 3
    return LOADERS[name](str(root), download=download, mean=(0.5,) * channels, std=(0.25,) * channels)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let torchvision's downloads fail; returns the addresses that were tried."""
    tried = []

    def fail(url: str, *args: Any, **kwargs: Any) -> None:
        tried.append(url)
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    return tried


# digits


def test_digits_pixels_labels_and_shape() -> None:
    images = digits(mean=(0.3,), std=(0.4,))
    assert images.pixels.shape == (1797, 8, 8, 1)
    assert images.shape == (1, 8, 8)
    assert images.num_classes == 10
    assert images.labels[:10].tolist() == list(range(10))
    # the first row of the first image is 0 0 5 13 9 1 0 0 in 17 grey levels; 255/16 = 15.9375 a level
    assert images.pixels[0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert images.pixels.max() == 255


def test_sha256_depends_on_pixels_and_labels() -> None:
    images = digits(mean=(0.3,), std=(0.4,))
    pixels, labels = images.pixels.copy(), images.labels.copy()
    pixels[5, 3, 3, 0] ^= 1
    labels[7] = (labels[7] + 1) % 10
    hashes = {
        Images("digits", p, y, 10, (0.3,), (0.4,)).sha256()
        for p in (images.pixels, pixels)
        for y in (images.labels, labels)
    }
    assert len(hashes) == 4
    assert images.sha256() in hashes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (0.1, 0.2)}, r"dataset\.mean=\[0\.1, 0\.2\].*Accepted: 1 number"),
        ({"std": ()}, r"dataset\.std=\[\].*Accepted: 1 number"),
        ({"std": (0.0,)}, r"dataset\.std=\[0\.0\].*above 0"),
    ],
)
def test_normalization_must_fit_the_images(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        digits(**{"mean": (0.3,), "std": (0.4,)} | changes)


# Fashion-MNIST


@pytest.mark.parametrize("layout", ["torchvision", "direct"])
@pytest.mark.parametrize("compressed", [False, True])
def test_fashion_mnist_reads_what_was_written(tmp_path: Path, compressed: bool, layout: str) -> None:
    pixels, labels = write_fashion_mnist(tmp_path, 6, 4, compressed, layout)
    images = load("fashion_mnist", tmp_path)
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    assert images.labels.dtype == np.int64
    assert images.shape == (1, 28, 28)
    assert images.num_classes == 10


def test_fashion_mnist_mixes_plain_and_compressed_files(tmp_path: Path) -> None:
    pixels, labels = write_fashion_mnist(tmp_path, layout="direct")
    plain = tmp_path / "train-images-idx3-ubyte"
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    images = load("fashion_mnist", tmp_path)
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)


def test_fashion_mnist_rows_are_rows(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, 1, 1, layout="direct")
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 3, 20] = 200  # row 3, column 20
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(image))
    found = load("fashion_mnist", tmp_path).pixels[0, :, :, 0]
    assert np.argwhere(found).tolist() == [[3, 20]]


def test_fashion_mnist_leaves_its_source_alone(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, compressed=True)
    before = sorted(tmp_path.rglob("*"))
    load("fashion_mnist", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", FASHION_MNIST_NAMES)
def test_fashion_mnist_with_a_missing_file_is_missing(tmp_path: Path, name: str) -> None:
    write_fashion_mnist(tmp_path)
    (fashion_mnist_folder(tmp_path, "torchvision") / name).unlink()
    with pytest.raises(UserError, match="was not found"):
        load("fashion_mnist", tmp_path)


@pytest.mark.parametrize("name", FASHION_MNIST_NAMES)
@pytest.mark.parametrize("damage", ["shorter", "longer", "empty", "other type"])
def test_damaged_fashion_mnist_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    write_fashion_mnist(tmp_path)
    path = fashion_mnist_folder(tmp_path, "torchvision") / name
    content = path.read_bytes()
    float32 = content[:2] + b"\x0d" + content[3:]
    changed = {"shorter": content[:-1], "longer": content + b"\0", "empty": b"", "other type": float32}
    path.write_bytes(changed[damage])
    with pytest.raises(UserError, match=name):
        load("fashion_mnist", tmp_path)


def test_fashion_mnist_labels_in_place_of_images_are_named(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, layout="direct")
    labels = (tmp_path / "t10k-labels-idx1-ubyte").read_bytes()
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(labels)
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte"):
        load("fashion_mnist", tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "corrupt", "not compressed"])
def test_damaged_gz_file_is_named(tmp_path: Path, damage: str) -> None:
    write_fashion_mnist(tmp_path, compressed=True, layout="direct")
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    content = path.read_bytes()
    flipped = content[:-8] + bytes([content[-8] ^ 0xFF]) + content[-7:]  # the checksum at the end
    changed = {"truncated": content[:-9], "corrupt": flipped, "not compressed": gzip.decompress(content)}
    path.write_bytes(changed[damage])
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte\.gz is damaged"):
        load("fashion_mnist", tmp_path)


def test_fashion_mnist_with_too_few_labels(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, 6, 4, layout="direct")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5)))
    with pytest.raises(UserError, match="9 labels do not fit"):
        load("fashion_mnist", tmp_path)


def test_fashion_mnist_with_an_impossible_label(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, 6, 4, layout="direct")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([0, 10, 1, 2])))
    with pytest.raises(UserError, match="Accepted: 0 to 9"):
        load("fashion_mnist", tmp_path)


# CIFAR, binary version


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


# missing datasets and downloads


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("exists", [True, False])
def test_missing_dataset_names_root_forms_and_download(tmp_path: Path, name: str, exists: bool) -> None:
    root = tmp_path if exists else tmp_path / "nowhere"
    with pytest.raises(UserError) as caught:
        load(name, root)
    message = str(caught.value)
    assert f"dataset.root={str(root)!r}" in message
    assert all(form in message for form in FORMS[name]), message
    assert "dataset.download=true" in message
    assert root.exists() == exists


@pytest.mark.parametrize("name", LOADERS)
def test_failed_download_says_what_was_tried(tmp_path: Path, name: str, no_network: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load(name, tmp_path, download=True)
    message = str(caught.value)
    assert no_network
    assert "The download was tried and failed" in message
    assert "Name or service not known" in message
    assert f"dataset.root={str(tmp_path)!r}" in message
    assert all(form in message for form in FORMS[name]), message


def test_nothing_is_downloaded_that_is_there(tmp_path: Path, no_network: list[str]) -> None:
    write_cifar10_binary(tmp_path, 1)
    write_cifar100_binary(tmp_path, 1, 1)
    write_fashion_mnist(tmp_path, 1, 1, compressed=True)
    assert [len(load(name, tmp_path, download=True).labels) for name in LOADERS] == [6, 2, 2]
    assert no_network == []
