"""Any folder of images."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from ondisk import load, png, write_image_folder
from PIL import Image

from fedpers.errors import UserError


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
