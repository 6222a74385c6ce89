"""Images from the update of a client of FedAvg.

Geiping, Bauermeister, Dröge and Moeller, "Inverting Gradients: How Easy Is It to Break Privacy in Federated Learning?",
NeurIPS 2020, https://arxiv.org/abs/2003.14053: images are looked for of which the gradient points as the update does
(cosine distance), with little total variation, by Adam on the signs of their gradient. Labels are known.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS, LR, VARIATION = 500, 0.1, 1e-3


def gradient(model: nn.Module, images: Tensor, labels: Tensor, *, differentiable: bool = False) -> list[Tensor]:
    """Return the gradient of the mean cross-entropy in all weights: after one step, what a client's update is."""
    loss = F.cross_entropy(model(images), labels)
    return list(torch.autograd.grad(loss, list(model.parameters()), create_graph=differentiable))


def inverted(
    model: nn.Module, update: list[Tensor], labels: Tensor, shape: tuple[int, ...], stream: torch.Generator
) -> Tensor:
    """Return images (n, channels, height, width), in the order of their labels, that would have made an update.

    Args:
        model: The model that clients were sent.
        update: What a client's one step made of it, in the order of its parameters, up to a factor.
        labels: The labels of the images (n,).
        shape: Channels, height and width.
        stream: Draws the noise that is begun with.
    """
    length = torch.stack([part.square().sum() for part in update]).sum().sqrt()
    made = torch.randn(len(labels), *shape, generator=stream).requires_grad_()
    optimizer = torch.optim.Adam([made], lr=LR)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [STEPS * 3 // 8, STEPS * 5 // 8, STEPS * 7 // 8])
    for _ in range(STEPS):
        own = gradient(model, made, labels, differentiable=True)
        dot = torch.stack([(a * b).sum() for a, b in zip(own, update, strict=True)]).sum()
        norm = torch.stack([part.square().sum() for part in own]).sum().sqrt()
        objective = 1 - dot / (length * norm).clamp_min(1e-12) + VARIATION * variation(made)
        (slope,) = torch.autograd.grad(objective, [made])
        made.grad = slope.sign()
        optimizer.step()
        schedule.step()
    return made.detach()


def variation(images: Tensor) -> Tensor:
    """Return the anisotropic total variation of images, a mean over pixels."""
    return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()
