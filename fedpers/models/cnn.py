"""Plain convolutional networks.

With its defaults `cnn` is the network of McMahan et al., "Communication-Efficient Learning of Deep Networks from
Decentralized Data" (AISTATS 2017, https://arxiv.org/abs/1602.05629): two 5x5 convolutions with 32 and 64 channels,
each followed by 2x2 max pooling, one hidden layer of 512 units.
"""

from torch import nn

from fedpers.errors import UserError
from fedpers.models.mlp import dense_stages
from fedpers.models.staged import Staged


def cnn(
    shape: tuple[int, int, int],
    num_classes: int,
    *,
    channels: tuple[int, ...],
    kernel_size: int,
    hidden: tuple[int, ...],
    depth: int,
    padding: bool = True,
) -> Staged:
    """Build stages `conv1`, `conv2`, ... (convolution, ReLU, 2x2 max pooling), `fc1`, ..., `head`.

    Args:
        shape: Shape of one image: channels, height, width.
        num_classes: Number of logits.
        channels: Output channels of each convolution.
        kernel_size: Odd width of the square kernels.
        hidden: Width of each hidden dense layer.
        depth: Convolutions in each stage; models that differ in nothing else agree in the shapes at every cut.
        padding: Whether convolutions keep height and width; without, each takes away `kernel_size - 1`.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise UserError(f"model.kernel_size={kernel_size} is not possible. Accepted: an odd number above 0")
    if any(units < 1 for units in channels):
        raise UserError(f"model.channels={list(channels)} is not possible. Accepted: numbers of at least 1")
    if depth < 1:
        raise UserError(f"model.depth={depth} is not possible. Accepted: at least 1")
    inputs, height, width = shape
    border = 0 if padding else kernel_size - 1
    stages: dict[str, nn.Module] = {}
    for number, units in enumerate(channels, start=1):
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, units, kernel_size, padding=kernel_size // 2 if padding else 0), nn.ReLU()]
            inputs = units
        stages[f"conv{number}"] = nn.Sequential(*layers, nn.MaxPool2d(2))
        height, width = ((side - depth * border) // 2 for side in (height, width))
        if min(height, width) < 1:
            raise UserError(
                f"model.channels={list(channels)}: stage conv{number} leaves nothing of images of "
                f"{shape[1]}x{shape[2]}. Accepted: fewer convolutions"
            )
    return Staged(stages | dense_stages(inputs * height * width, hidden, num_classes))
