"""ResNet-18 for small images.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016, https://arxiv.org/abs/1512.03385), with
torchvision's basic blocks. As usual for images of about 32x32, the stem is one 3x3 convolution of stride 1 without
pooling. GroupNorm is the default: BatchNorm statistics of non-IID clients do not average well (Hsieh et al., "The
Non-IID Data Quagmire of Decentralized Machine Learning", ICML 2020).
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import nn
from torchvision.models.resnet import BasicBlock, conv1x1

from fedpers.errors import UserError
from fedpers.models.staged import Staged


def resnet18(shape: tuple[int, int, int], num_classes: int, *, width: int, norm: Literal["group", "batch"]) -> Staged:
    """Build stages `stem`, `block1` ... `block4` (two residual blocks each) and `head`.

    Args:
        shape: Shape of one image: channels, height, width.
        num_classes: Number of logits.
        width: Channels of the stem; the paper has 64. They double in blocks 2, 3 and 4.
        norm: GroupNorm with two groups, or BatchNorm.
    """
    if width < 1 or (norm == "group" and width % 2):
        accepted = "an even number above 0, as GroupNorm has two groups" if norm == "group" else "at least 1"
        raise UserError(f"model.width={width} is not possible. Accepted: {accepted}")
    make_norm: Callable[..., nn.Module] = nn.BatchNorm2d if norm == "batch" else partial(nn.GroupNorm, 2)
    stem = nn.Sequential(nn.Conv2d(shape[0], width, 3, padding=1, bias=False), make_norm(width), nn.ReLU(inplace=True))
    stages: dict[str, nn.Module] = {"stem": stem}
    planes = width
    for number, stride in enumerate((1, 2, 2, 2), start=1):
        units = width << (number - 1)
        shortcut = None
        if stride != 1:
            shortcut = nn.Sequential(conv1x1(planes, units, stride), make_norm(units))
        stages[f"block{number}"] = nn.Sequential(
            BasicBlock(planes, units, stride, shortcut, norm_layer=make_norm),
            BasicBlock(units, units, norm_layer=make_norm),
        )
        planes = units
    stages["head"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(planes, num_classes))
    return Staged(stages)
