"""ResNet-18: its usual size, its blocks, its norms."""

import pytest
import torch
from zoo import from_yaml, num_parameters

from fedpers.models.batch_norm import layer_keys
from fedpers.models.resnet import resnet18


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_resnet18_has_the_usual_size(norm: str) -> None:
    # the usual variant for CIFAR; both norms have a weight and a bias a channel
    assert num_parameters(from_yaml("resnet18", (3, 32, 32), 10, norm=norm)) == 11_173_962


def test_resnet18_halves_the_image_in_blocks_2_to_4() -> None:
    model = resnet18((3, 32, 32), 10, width=4, norm="group")
    with torch.no_grad():
        shapes = [tuple(model.run_to(torch.zeros(1, 3, 32, 32), cut).shape[1:]) for cut in range(1, 6)]
    assert shapes == [(4, 32, 32), (4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4)]


def test_group_norm_has_no_buffers() -> None:
    group = resnet18((3, 32, 32), 10, width=4, norm="group")
    assert list(group.buffers()) == []
    assert layer_keys(group) == frozenset()
    batch = resnet18((3, 32, 32), 10, width=4, norm="batch")
    assert len(list(batch.buffers())) == 3 * 20  # stem, 16 in blocks, 3 in shortcuts


def test_group_norm_does_not_mix_samples() -> None:
    model = resnet18((1, 8, 8), 10, width=4, norm="group").train()
    inputs = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(inputs)[:1], model(inputs[:1]), rtol=1e-4, atol=1e-4)
