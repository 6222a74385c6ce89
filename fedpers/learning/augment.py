"""Training images that are another picture of the same every time, made batch by batch, seeded by client and round."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedpers.errors import Refusing


@dataclass(frozen=True)
class Augment(Refusing):
    """What all augmentations have in common."""

    group = "augment"

    def __call__(self, images: Tensor, black: Tensor, stream: torch.Generator) -> Tensor:
        """Return other pictures of the same.

        Args:
            images: (B, C, H, W), normalized.
            black: (C,) what a value of 0 has become by normalization.
            stream: Draws on the CPU.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class CropFlip(Augment):
    """Move each image by up to `padding` points in both directions, black behind its edge, and turn half of them round.

    The usual augmentation of CIFAR: He et al., "Deep Residual Learning", https://arxiv.org/abs/1512.03385, section 4.2.

    Args:
        padding: The largest shift, in points.
        flip: Whether images are turned round, left to right; not for what reads one way, as digits and letters do.
    """

    padding: int
    flip: bool

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("padding", self.padding >= 0, "a whole number of at least 0")

    def __call__(self, images: Tensor, black: Tensor, stream: torch.Generator) -> Tensor:
        """Return moved images, in one look-up of all."""
        size, _, height, width = images.shape
        shift = torch.randint(-self.padding, self.padding + 1, (2, size, 1), generator=stream)
        turned = torch.rand(size, 1, generator=stream) < (0.5 if self.flip else 0)
        down, across = torch.arange(height), torch.arange(width)
        rows = (down + shift[0]).to(images.device)
        columns = (torch.where(turned, width - 1 - across, across) + shift[1]).to(images.device)
        inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
        found = images.permute(0, 2, 3, 1)[
            torch.arange(size, device=images.device)[:, None, None],
            rows.clamp(0, height - 1)[:, :, None],
            columns.clamp(0, width - 1)[:, None, :],
        ]
        return torch.where(inside[..., None], found, black).permute(0, 3, 1, 2)


def _within(positions: Tensor, length: int) -> Tensor:
    return (positions >= 0) & (positions < length)
