"""What the server of FedD2S was sent in a run's last round, beside the images that it was made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedpers import assembly, seeds
from fedpers.data.shards import Shards
from fedpers.results import Run
from fedpers.training import Split
from strategies.fedd2s import FedD2S
from strategies.fedd2s.client import extract_knowledge


@dataclass(frozen=True)
class Seen:
    """Rows of clients' knowledge, one for each image.

    Args:
        h: What was sent of each image (n, d); of class means that of its class.
        labels: The images' labels (n,).
        images: The images (n, channels, height, width), normalized as models see them.
        owners: The client that each is from (n,).
    """

    h: Tensor
    labels: Tensor
    images: Tensor
    owners: Tensor

    def of(self, rows: Tensor) -> "Seen":
        """Return the rows that a mask (n,), or their numbers (m,), choose."""
        return Seen(self.h[rows], self.labels[rows], self.images[rows], self.owners[rows])


def joined(parts: Iterable[Seen]) -> Seen:
    """Return the rows of several as one."""
    every = list(parts)
    return Seen(
        torch.cat([each.h for each in every]),
        torch.cat([each.labels for each in every]),
        torch.cat([each.images for each in every]),
        torch.cat([each.owners for each in every]),
    )


def colluders(seed: int, num_clients: int) -> list[int]:
    """Return the half of the clients, rounded down, that tell the server all that they know, in ascending order."""
    order = seeds.numpy_generator(seed, "colluders").permutation(num_clients)
    return sorted(int(client) for client in order[: num_clients // 2])


def seen(run: Run, shards: Shards, clients: Sequence[int], *, all_splits: bool) -> Seen:
    """Return what clients send of their images at the last round's cut, by the models that they then had.

    Of the training images that is what they did send, to the bit. Personal models must be those that were trained: an
    algorithm with `strategy.vote=0`, and with shared weights `strategy.trunk=own`.

    Args:
        run: A finished run of FedD2S that has kept its models.
        shards: Its data.
        clients: Whose.
        all_splits: Of all images that a client holds, as it can tell of its own; else of those that it trains on.
    """
    algorithm = assembly.build_algorithm(run.config)
    assert isinstance(algorithm, FedD2S)
    assert not algorithm.vote
    found = []
    for client in clients:
        data = shards.client(client)
        splits = {"noise": data.train, **({"noise 2": data.val, "noise 3": data.test} if all_splits else {})}
        found += [_sent(run, algorithm, client, split, purpose) for purpose, split in splits.items() if len(split)]
    return joined(found)


def _sent(run: Run, algorithm: FedD2S, client: int, split: Split, purpose: str) -> Seen:
    """Return what a client sends of a split's images."""
    config, model = run.config, run.model(client).model
    cut = algorithm.active_cut(config.rounds, config.rounds, len(model))
    stream = seeds.torch_generator(config.seed, purpose, round=config.rounds, client=client)
    h, p = algorithm.view(config.seed).observe(model, split, cut)
    rows = extract_knowledge(algorithm, h, p, split.labels, stream)
    sent = rows.h.float()
    if algorithm.knowledge == "class_means":
        sent = sent[split.labels.unique(return_inverse=True)[1]]
    return Seen(sent, split.labels, split.inputs, torch.full_like(split.labels, client))
