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


def grey(count: int = 6) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 5, 1), np.uint8)


LABELS = np.arange(6) % 3


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_stay_floats(dtype: type) -> None:
    """As ToTensor gives them: they would be bytes of 0 and 1 otherwise, that is, noise."""
    pixels = (grey() / 255).astype(dtype)
    images = Images("x", pixels, LABELS, 3, None, None)
    assert images.pixels.dtype == np.float32
    np.testing.assert_array_equal(images.pixels, pixels.astype(np.float32))
    (mean,), (std,) = images.normalization
    assert mean == pytest.approx(pixels.astype(float).mean(), rel=1e-3)
    assert std == pytest.approx(pixels.astype(float).std(), rel=1e-3)
    assert images.sha256() != Images("x", grey(), LABELS, 3, None, None).sha256()


def test_moments_of_small_floats_keep_their_digits() -> None:
    images = Images("x", grey().astype(np.float64) * 1e-6, LABELS, 3, None, None)
    assert images.normalization[1][0] == pytest.approx(grey().std() * 1e-6, rel=1e-3)
    assert Images("x", np.full((6, 4, 5, 1), 0.5), LABELS, 3, None, None).normalization == ((0.5,), (1.0,))


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_that_come_first_are_recognized(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 7, channels), np.uint8)
    images = Images("x", np.moveaxis(pixels, -1, 1), LABELS, 3, None, None)
    assert images.shape == (channels, 8, 7)
    np.testing.assert_array_equal(images.pixels, pixels)


def test_torch_tensors_are_taken_too() -> None:
    import torch

    images = Images("x", torch.rand(6, 3, 8, 7), torch.arange(6) % 3, 3, None, None)  # type: ignore[arg-type]
    assert (images.shape, images.pixels.dtype, images.labels.dtype) == ((3, 8, 7), np.float32, np.int64)


REFUSED = {
    "tokens": (
        {"pixels": np.zeros((6, 4, 5, 1), np.int64)},
        r"pixels are of type int64. Accepted: uint8 \(0 to 255\), or",
    ),
    "16 bits": ({"pixels": np.zeros((6, 4, 5, 1), np.uint16)}, r"pixels are of type uint16"),
    "complex": ({"pixels": np.zeros((6, 4, 5, 1), complex)}, r"pixels are of type complex128"),
    "no axis": (
        {"pixels": np.zeros((6, 4, 5), np.uint8)},
        r"shape \(6, 4, 5\).*grey images need a last axis: pixels\[..., None",
    ),
    "flat": (
        {"pixels": np.zeros((6, 20), np.uint8)},
        r"shape \(6, 20\). Accepted: \(images, height, width, channels\)$",
    ),
    "no points": ({"pixels": np.zeros((6, 4, 0, 1), np.uint8)}, r"shape \(6, 4, 0, 1\)"),
    "which axis": (
        {"pixels": np.zeros((6, 8, 8, 8), np.uint8)},
        r"\(8, 8, 8\), of which nobody can tell where the chann",
    ),
    "not finite": ({"pixels": np.full((6, 4, 5, 1), np.nan)}, r"image 0 has pixels that are not finite numbers"),
    "too large": ({"pixels": np.full((6, 4, 5, 1), 1e300)}, r"image 0 has pixels that are not finite numbers"),
    "float labels": (
        {"labels": np.zeros(6)},
        r"its labels are of type float64 and shape \(6,\). Accepted: whole numbers",
    ),
    "rows of labels": ({"labels": np.zeros((6, 1), int)}, r"its labels are of type int64 and shape \(6, 1\)"),
    "lists of labels": ({"labels": [[1], [1, 2], [], [0], [0], [0]]}, r"its labels are of type object"),
    "negative labels": ({"labels": np.arange(6) - 1}, r"labels run from -1 to 4. Accepted: 0 to 2"),
    "far labels": ({"labels": np.full(6, 2**63, np.uint64)}, r"its labels reach 9223372036854775808"),
    "nan owners": ({"owners": np.array([0, 1, np.nan, 1, 0, 1])}, r"its owners are of type float64"),
    "negative owners": ({"owners": np.arange(6) - 1}, r"an owner is numbered -1. Accepted: 0 and above"),
    "few owners": ({"owners": np.arange(5)}, r"5 owners do not fit 6 images"),
    "few names": ({"classes": ("a", "b")}, r"2 names do not fit 3 classes"),
    "nan mean": ({"mean": (float("nan"),)}, r"dataset.mean=\[nan\] is not possible. Accepted: finite numbers"),
    "inf std": ({"std": (float("inf"),)}, r"dataset.std=\[inf\] is not possible. Accepted: finite numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_are_no_images_is_refused_by_name(case: str) -> None:
    changes, message = REFUSED[case]
    good: dict[str, Any] = {"pixels": grey(), "labels": LABELS, "mean": (0.5,), "std": (0.5,)}
    with pytest.raises(UserError, match=message):
        Images(name="x", num_classes=3, **(good | changes))
