"""CINIC-10, as folders of images and from the hub."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from ondisk import CINIC10_CLASSES, load, png, write_cinic10_hub, write_image_folder

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
