"""Handwritten digits, 8x8 pixels, bundled with scikit-learn: real images that need no download.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998; the 1,797
images of its test part, written by 13 people.
"""

import numpy as np
from sklearn.datasets import load_digits

from fedpers.data.images import Images


def digits(*, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Images:
    """Load all 1,797 digits; their 17 grey levels are spread over 0 ... 255."""
    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    return Images("digits", pixels, bunch.target.astype(np.int64), 10, mean, std)
