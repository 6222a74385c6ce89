"""FedAvg in plain PyTorch, written without any module of fedpers: Algorithm 1 of McMahan et al. (2017)."""

import torch
from torch import nn


def fedavg(model: nn.Module, clients: list, rounds: int, epochs: int, batch_size: int, lr: float, order) -> dict:
    """Average fully participating clients, each (inputs, labels); `order(round, client)` seeds the batches."""
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    for round in range(1, rounds + 1):
        collected = []
        for number, (inputs, labels) in enumerate(clients):
            model.load_state_dict(weights)
            generator = torch.Generator().manual_seed(order(round, number))
            for _ in range(epochs):
                for index in torch.randperm(len(labels), generator=generator).split(batch_size):
                    loss = nn.functional.cross_entropy(model(inputs[index]), labels[index])
                    gradients = torch.autograd.grad(loss, list(model.parameters()))
                    with torch.no_grad():
                        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                            parameter -= lr * gradient
            collected.append({key: value.clone() for key, value in model.state_dict().items()})
        total = sum(len(labels) for _, labels in clients)
        for key in weights:
            parts = [len(c[1]) / total * state[key].double() for c, state in zip(clients, collected, strict=True)]
            weights[key] = sum(parts).float()
    return weights
