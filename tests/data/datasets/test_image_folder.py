"""Any folder of images."""

import io
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


def test_what_is_hidden_is_no_class_and_no_image(tmp_path: Path, caplog) -> None:  # type: ignore[no-untyped-def]
    """Editors and systems leave such files; a folder of theirs would be a class without meaning."""
    pixels, labels = write_image_folder(tmp_path / "mine", ("",), ("ant", "bee"), side=6)
    checkpoints = tmp_path / "mine" / ".ipynb_checkpoints"
    checkpoints.mkdir()
    for path in (checkpoints / "0.png", tmp_path / "mine/ant/._0000.png", tmp_path / "mine/ant/.thumbs/1.png"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(np.zeros((6, 6, 3), np.uint8)))
    (tmp_path / "mine/bee/Thumbs.db").write_text("x")
    (tmp_path / "mine/readme.txt").write_text("x")
    images = load("image_folder", tmp_path / "mine")
    assert (images.num_classes, images.classes) == (2, ("ant", "bee"))
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "4 files were skipped, hidden or no images by their names: ._0000.png, 1.png, Thumbs.db, ..."


@pytest.mark.parametrize("end", ["gif", "jfif", "JPG", "webp", "bmp", "tiff"])
def test_every_kind_of_image_counts(end: str, tmp_path: Path) -> None:
    write_image_folder(tmp_path, ("",), ("x", "y"), side=6)
    Image.fromarray(np.full((6, 6, 3), 200, np.uint8)).save(
        tmp_path / "y" / f"9.{end}", format={"jfif": "JPEG", "JPG": "JPEG"}.get(end)
    )
    images = load("image_folder", tmp_path)
    assert images.labels.tolist() == [0, 0, 1, 1, 1]
    assert abs(int(images.pixels[-1].mean()) - 200) < 3


def broken_jpegs() -> dict[str, bytes]:
    """Return a JPEG file whose points are damaged in ways of which Pillow notices none."""
    tiles = np.kron(np.random.default_rng(0).integers(0, 255, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(tiles).save(file, "JPEG", quality=85)
    content = file.getvalue()
    places = range(650, len(content) - 100, 60)  # behind the tables
    return {f"zeros at {at}": content[:at] + bytes(50) + content[at + 50 :] for at in places}


@pytest.mark.parametrize("case", broken_jpegs())
def test_a_damaged_jpeg_is_no_grey_image(case: str, tmp_path: Path) -> None:
    content = broken_jpegs()[case]
    with Image.open(io.BytesIO(content)) as image:
        image.load()  # as if nothing were wrong
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "0.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"x/0.jpg is damaged or no image"):
        load("image_folder", tmp_path)


def test_sound_jpegs_of_all_kinds_are_read(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8))
    for number, (mode, progressive) in enumerate([("RGB", False), ("RGB", True), ("L", False), ("CMYK", False)]):
        picture.convert(mode).save(tmp_path / "x" / f"{number}.jpg", progressive=progressive)
    assert len(load("image_folder", tmp_path, channels=3).labels) == 4
