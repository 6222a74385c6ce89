"""The client half of FedD2S: it learns from labels and the federation, then tells what it knows at the active cut.

With shared weights it begins with the averages of the stages before that cut, and sends what became of them.
"""

import torch
from torch import Tensor

from fedpers.algorithm import State, Task, Update
from strategies.fedd2s.settings import Settings
from strategies.fedd2s.weights import before, load_averages
from strategies.parts.class_means import class_averages, spread
from strategies.parts.exchange import SOFT_LABELS, Knowledge, Teacher
from strategies.parts.heads import frozen_head

HEAD, CUT = "heads/", "control/cut"
POOLED = "labels/pooled"
"""How often each class was among the knowledge that the active head last learned from: (classes,)."""


def train(settings: Settings, task: Task) -> Update:
    """Learn from the labels, the server's head and its soft labels, then send what is shared at the active cut."""
    view, cut = settings.view(task.config.seed), int(task.received[CUT])
    load_averages(task, cut)
    teacher = Teacher(
        view,
        cut,
        frozen_head(task.received, HEAD),
        soft_labels(settings, task),
        settings.lambda_ce,
        settings.lambda_kl,
        settings.kl_on,
    )
    loss = task.fit(teacher.client_loss, clip_norm=settings.clip_norm)
    send: State = {}
    metrics = {"loss": loss}
    if settings.shares_knowledge:
        h, p = view.observe(task.model, task.data.train, cut)
        knowledge = extract_knowledge(settings, h, p, task.data.train.labels, task.generator("noise"))
        send |= (of_every_class(knowledge, task.data.num_classes) if task.config.privacy else knowledge).wire()
        metrics["agreement"] = teacher.agreement(p)
    if settings.shares_weights:
        send |= before(task.model, task.shared(), cut)
    return Update(send=send, keep=task.model.tensors(), metrics=metrics | drift(task))


def soft_labels(settings: Settings, task: Task) -> Tensor | None:
    """Return q of every training sample, (n, classes), if the server sent it; of class means, its class's row."""
    if SOFT_LABELS not in task.received:
        return None
    q = task.received[SOFT_LABELS].float()
    if task.config.privacy:  # a row for every class
        return q[task.data.train.labels]
    return q[task.data.train.labels.unique(return_inverse=True)[1]] if settings.knowledge == "class_means" else q


def extract_knowledge(
    settings: Settings, h: Tensor, p: Tensor, labels: Tensor, generator: torch.Generator
) -> Knowledge:
    """Return what leaves the client."""
    h = clip_rows(h, settings.knowledge_clip)
    counts = torch.ones_like(labels)
    if settings.knowledge == "class_means":
        h, p, labels, counts = class_means(h, p, labels)
    h, p = add_noise(h, p, settings.knowledge_noise, generator)
    return Knowledge(h.to(settings.wire_type), p.to(settings.wire_type), labels, counts)


def class_means(h: Tensor, p: Tensor, labels: Tensor) -> Knowledge:
    """Return the means of h and p over each class present, the classes in ascending order, and their counts."""
    means, count = class_averages(torch.cat([h, p], 1), labels, 0)
    classes = count.nonzero().flatten()
    return Knowledge(means[:, : h.shape[1]], means[:, h.shape[1] :], classes, count[classes])


def of_every_class(means: Knowledge, num_classes: int) -> Knowledge:
    """Return class means with a row of zeros for each class that the client has not: which it has nobody is to know.

    Each row counts once.
    """
    h, p = (spread(rows, means.labels, num_classes) for rows in (means.h, means.p))
    classes = torch.arange(num_classes, device=means.labels.device)
    return Knowledge(h, p, classes, torch.ones_like(classes))


def clip_rows(h: Tensor, norm: float | None) -> Tensor:
    """Scale every row that is longer than `norm` down to it; None changes nothing."""
    return h if norm is None else h * (norm / h.norm(dim=1, keepdim=True).clamp_min(norm))


def add_noise(h: Tensor, p: Tensor, std: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Add Gaussian noise to representations and to soft labels, which stay distributions; 0 changes nothing.

    This blurs what is sent. It is no formal guarantee of privacy: labels are sent as they are, nothing is accounted.
    """
    if not std:
        return h, p
    h = h + std * torch.randn(h.shape, generator=generator).to(h.device)
    p = (p + std * torch.randn(p.shape, generator=generator).to(p.device)).clamp_min(1e-6)
    return h, p / p.sum(1, keepdim=True)


def drift(task: Task) -> dict[str, float]:
    """Return ‖w − w_0‖ / ‖w_0‖ of each stage of the model, from its initialization."""
    distances = {}
    for name, stage in task.model.named_children():
        pairs = [(p.detach(), task.initial[f"{name}.{key}"]) for key, p in stage.named_parameters()]
        if pairs:
            moved = sum(float((now - then).square().sum()) for now, then in pairs)
            length = sum(float(then.square().sum()) for _, then in pairs)
            distances[f"drift/{name}"] = (moved / max(length, 1e-12)) ** 0.5
    return distances
