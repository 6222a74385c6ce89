"""Folders of images: any, and CINIC-10's; and SVHN's MATLAB files."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from ondisk import CINIC10_CLASSES, load, png, write_cinic10_hub, write_image_folder, write_svhn
from PIL import Image
from scipy.io import savemat

from fedpers.errors import UserError

PARTS = ("train", "valid", "test")


@pytest.mark.parametrize("folder", [".", "CINIC-10"])
def test_cinic10_from_its_folder(tmp_path: Path, folder: str) -> None:
    pixels, labels = write_image_folder(tmp_path / folder, PARTS, CINIC10_CLASSES)
    images = load("cinic10", tmp_path)
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    assert (images.name, images.num_classes, images.shape) == ("cinic10", 10, (3, 32, 32))


def test_cinic10_grey_images_become_colour(tmp_path: Path) -> None:
    """Some of CINIC-10's images, from ImageNet, are grey."""
    write_image_folder(tmp_path, PARTS, CINIC10_CLASSES)
    grey = np.arange(1024, dtype=np.uint16).reshape(32, 32).astype(np.uint8)
    (tmp_path / "train" / "airplane" / "0000.png").write_bytes(png(grey))
    assert_array_equal(load("cinic10", tmp_path).pixels[0], np.stack([grey] * 3, -1))


def test_cinic10_from_the_hub(tmp_path: Path) -> None:
    pixels, labels = write_cinic10_hub(tmp_path / "cinic10" / "data")
    images = load("cinic10", tmp_path)
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)


def test_cinic10_without_a_part_a_class_or_anything(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"CINIC-10/\{train,valid,test\}/CLASS"):
        load("cinic10", tmp_path)
    write_image_folder(tmp_path, ("train", "valid"), CINIC10_CLASSES)
    with pytest.raises(UserError, match=r"was not found in .*test"):
        load("cinic10", tmp_path)
    write_image_folder(tmp_path, ("test",), CINIC10_CLASSES[:-1])
    with pytest.raises(UserError, match=r"differ in classes: truck"):
        load("cinic10", tmp_path)
    other = tmp_path / "other"
    write_image_folder(other, PARTS, ("a", "b"))
    with pytest.raises(UserError, match=r"holds the classes a, b\. Accepted: airplane, automobile"):
        load("cinic10", other)


def test_cinic10_of_another_size(tmp_path: Path) -> None:
    write_image_folder(tmp_path, PARTS, CINIC10_CLASSES)
    (tmp_path / "test" / "dog" / "0010.png").write_bytes(png(np.zeros((32, 30, 3), np.uint8)))
    with pytest.raises(UserError, match=r"test/dog/0010\.png: an image of 32x30 pixels.*Accepted: images of 32x32"):
        load("cinic10", tmp_path)


def test_any_folder_of_images(tmp_path: Path) -> None:
    pixels, labels = write_image_folder(tmp_path / "mine", ("",), ("ant", "bee", "cat"), side=12)
    images = load("image_folder", tmp_path / "mine")
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    assert (images.name, images.num_classes) == ("mine", 3)
    scaled = load("image_folder", tmp_path / "mine", channels=1, size=[5, 7])
    assert scaled.shape == (1, 5, 7)


def test_parts_of_a_folder(tmp_path: Path) -> None:
    pixels, _ = write_image_folder(tmp_path, ("a", "b"), ("x", "y"), side=6)
    assert_array_equal(load("image_folder", tmp_path, parts=["a", "b"]).pixels, pixels)
    assert_array_equal(load("image_folder", tmp_path, parts=["b"]).pixels, pixels[4:])


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"was not found in dataset.root=.*nowhere") as caught:
        load("image_folder", tmp_path / "nowhere")
    assert "download" not in str(caught.value)
    with pytest.raises(UserError, match=r"is no folder of images.*a folder for each class"):
        load("image_folder", tmp_path)
    write_image_folder(tmp_path, ("",), ("x", "y"), side=6)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"is no folder of images.*empty"):
        load("image_folder", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(np.zeros((6, 6, 3), np.uint8))[:-30], "is damaged or no image"),
        (b"hello", r"is damaged or no image \(not in a known format\)"),
        (png(np.zeros((6, 7, 3), np.uint8)), r"an image of 6x7 pixels.*images of 6x6; dataset\.size=\[HEIGHT,WIDTH\]"),
        (png(np.zeros((6, 6), np.uint8)), r"is a grey image, .*0000\.png a colour one.*dataset\.channels=1\|3"),
    ],
    ids=["truncated", "text", "size", "grey"],
)
def test_an_image_that_does_not_fit_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    write_image_folder(tmp_path, ("",), ("x", "y"), side=6)
    (tmp_path / "y" / "0003.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"y/0003\.png.*{message}"):
        load("image_folder", tmp_path)


def test_pixels_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "x" / "0.png")
    with pytest.raises(UserError, match=r"pixels of type I;16\. Accepted: 8 bits"):
        load("image_folder", tmp_path)


@pytest.mark.parametrize("folder", ["svhn", "."])
def test_svhn_reads_what_was_written(tmp_path: Path, folder: str) -> None:
    pixels, labels = write_svhn(tmp_path / folder)
    images = load("svhn", tmp_path)
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    assert 0 in labels
    assert images.shape == (3, 32, 32)


def test_svhn_extra_images(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    with pytest.raises(UserError, match=r"train_32x32\.mat,test_32x32\.mat,extra_32x32\.mat"):
        load("svhn", tmp_path, extra=True)
    pixels, _ = write_svhn(tmp_path, ("train", "test", "extra"))
    assert_array_equal(load("svhn", tmp_path, extra=True).pixels, pixels)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "keys", "shape", "labels"])
def test_damaged_svhn_is_named(tmp_path: Path, damage: str) -> None:
    write_svhn(tmp_path)
    path = tmp_path / "test_32x32.mat"
    content = path.read_bytes()
    images = np.zeros((32, 32, 3, 2), np.uint8)
    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "empty" | "text":
            path.write_bytes(b"" if damage == "empty" else b"hello" * 100)
        case "keys":
            savemat(path, {"X": images})
        case "shape":
            savemat(path, {"X": images[:, :30], "y": [[1], [2]]})
        case "labels":
            savemat(path, {"X": images, "y": [[0], [2]]})
    with pytest.raises(UserError, match=r"test_32x32\.mat"):
        load("svhn", tmp_path)
