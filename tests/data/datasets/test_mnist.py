"""MNIST, Fashion-MNIST and EMNIST: IDX files, compressed or not."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from ondisk import FASHION_MNIST_NAMES, fashion_mnist_folder, idx, load, write_fashion_mnist, write_idx

from fedpers.data.images import Images
from fedpers.errors import UserError

REAL = Path("/usr/share/datasets/fashion-mnist")


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


def test_mnist_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, seed=5)
    pixels, labels = write_idx(tmp_path / "MNIST" / "raw", ("train-{}-ubyte", "t10k-{}-ubyte"), 10)
    images = load("mnist", tmp_path)
    assert images.name == "mnist"
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    assert images.num_classes == 10


SELECTIONS = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}


@pytest.mark.parametrize("folder", ["EMNIST/raw", "gzip", "."])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_emnist_stands_upright_and_counts_from_zero(tmp_path: Path, selection: str, folder: str) -> None:
    names = (f"emnist-{selection}-train-{{}}-ubyte", f"emnist-{selection}-test-{{}}-ubyte")
    first = int(selection == "letters")
    written = write_idx(tmp_path / folder, names, SELECTIONS[selection], first_label=first, compressed=folder == "gzip")
    images = load("emnist", tmp_path, selection=selection)
    assert_array_equal(images.pixels, written[0].transpose(0, 2, 1, 3))
    assert_array_equal(images.labels, written[1] - first)
    assert images.num_classes == SELECTIONS[selection]
    assert images.name == f"emnist_{selection}"


def test_emnist_selections_are_not_mixed_up(tmp_path: Path) -> None:
    write_idx(tmp_path / "gzip", ("emnist-digits-train-{}-ubyte", "emnist-digits-test-{}-ubyte"), 10)
    with pytest.raises(UserError) as caught:
        load("emnist", tmp_path, selection="balanced")
    assert "gzip/{emnist-balanced-train-,emnist-balanced-test-}{images-idx3,labels-idx1}-ubyte[.gz]" in str(
        caught.value
    )
    with pytest.raises(UserError, match=r"unknown dataset\.selection 'byclas'\. Did you mean 'byclass'\?"):
        load("emnist", tmp_path, selection="byclas")


def test_emnist_letters_with_a_label_zero(tmp_path: Path) -> None:
    write_idx(tmp_path, ("emnist-letters-train-{}-ubyte", "emnist-letters-test-{}-ubyte"), 1)  # labels 0
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte: labels run from 0 to 0\. Accepted: 1 to 26"):
        load("emnist", tmp_path, selection="letters")


@pytest.mark.skipif(not REAL.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist() -> None:
    images = load("fashion_mnist", REAL)
    assert images.pixels.shape == (70_000, 28, 28, 1)
    assert np.bincount(images.labels).tolist() == [7_000] * 10
    measured = Images("x", images.pixels, images.labels, 10, None, None).normalization
    assert measured == ((0.2862,), (0.3529,))
