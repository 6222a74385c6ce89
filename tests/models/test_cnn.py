"""CNNs: the published size, and what convolutions leave of an image."""

import pytest
import torch
from zoo import from_yaml, num_parameters

from fedpers.errors import UserError
from fedpers.models.cnn import cnn


def test_cnn_has_the_published_size() -> None:
    """McMahan et al. (AISTATS 2017), section 3: "1,663,370 total parameters"."""
    assert num_parameters(from_yaml("cnn", (1, 28, 28), 10)) == 1_663_370


def test_convolutions_without_padding_take_the_border_away() -> None:
    model = cnn((1, 28, 28), 10, channels=(32, 64), kernel_size=5, hidden=(512,), depth=1, padding=False)
    assert model.get_parameter("fc1.1.weight").shape == (512, 64 * 4 * 4)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    with pytest.raises(UserError, match=r"model.channels=\[4, 4\]: stage conv2 leaves nothing of images of 8x8"):
        cnn((1, 8, 8), 10, channels=(4, 4), kernel_size=5, hidden=(), depth=1, padding=False)


def test_as_many_convolutions_as_the_image_bears() -> None:
    model = cnn((1, 8, 8), 10, channels=(2, 2, 2), kernel_size=3, hidden=(), depth=1)
    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
