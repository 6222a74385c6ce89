"""What every loader returns, and the bundled digits."""

from typing import Any

import numpy as np
import pytest

from fedpers.data.datasets.digits import digits
from fedpers.data.images import Images
from fedpers.errors import UserError


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


def test_normalization_is_measured_where_it_is_not_given() -> None:
    pixels = np.zeros((4, 1, 2, 3), np.uint8)
    pixels[..., 0] = 51  # 0.2
    pixels[:2, ..., 1] = 255  # half of them 1: mean and deviation 0.5; the third channel is black
    images = Images("x", pixels, np.zeros(4, np.int64), 1, None, None)
    assert images.normalization == ((0.2, 0.5, 0.0), (1.0, 0.5, 1.0))
    given = Images("x", pixels, np.zeros(4, np.int64), 1, (0.1,) * 3, None)
    assert given.normalization == ((0.1,) * 3, (1.0, 0.5, 1.0))
