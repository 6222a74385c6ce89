"""SVHN's MATLAB files."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from ondisk import load, write_svhn
from scipy.io import savemat

from fedpers.errors import UserError


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
