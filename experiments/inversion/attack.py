"""The attacks on finished runs: what is measured, in the form that a page and a figure show."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from experiments.inversion.decoder import Leak, class_guess, leak, reconstructed
from experiments.inversion.gradients import gradient, inverted
from experiments.inversion.seen import Seen, colluders, seen
from fedpers import assembly, seeds
from fedpers.data.shards import Shards
from fedpers.results import Run

BATCHES = (1, 4)
"""Images behind an update of FedAvg that is inverted."""

NUM_BATCHES = 8
"""Updates of each size that are inverted, for each seed."""

SHOWN = 6
"""Images that are kept to be looked at."""


@dataclass(frozen=True)
class Attacked:
    """What came of an attack.

    Args:
        leak: How much it gives away.
        images: A few of the attacked images (m, channels, height, width), normalized.
        guess: The best guess of these without what was sent.
        made: What became of them.
    """

    leak: Leak
    images: Tensor
    guess: Tensor
    made: Tensor


@cache
def decoded(folder: Path) -> Attacked:
    """Return what a server with the help of half of the clients makes of the others' knowledge.

    Args:
        folder: A run of FedD2S that has kept its models.
    """
    run, shards, known, attacked = _told(folder)
    made = reconstructed(known, attacked, shards.num_classes, run.config.seed)
    shown = torch.linspace(0, len(made) - 1, SHOWN).long()
    guess = class_guess(known, attacked.labels)
    return Attacked(leak(made, attacked, guess), attacked.images[shown], guess[shown], made[shown])


@cache
def inverted_updates(folder: Path, batch: int) -> Attacked:
    """Return what a server makes of FedAvg's updates in the first round, after one step on a batch.

    Images and model are those of a run of FedD2S, and so is what the server knows besides. The labels of a batch are
    different ones, as far as there are so many.

    Args:
        folder: That run.
        batch: Images in a batch.
    """
    run, shards, known, attacked = _told(folder)
    model = assembly.build_model(run.config, shards)
    order = torch.randperm(len(attacked.labels), generator=seeds.torch_generator(run.config.seed, "attacked images"))
    noise = seeds.torch_generator(run.config.seed, "inverted gradient")
    batches = _batches(attacked, order, batch)
    chosen, made = torch.cat(batches), []
    for picked in batches:
        images, labels = attacked.images[picked], attacked.labels[picked]
        update = gradient(model, images, labels)
        made.append(inverted(model, update, labels, shards.shape, noise))
    rest = torch.ones(len(attacked.labels), dtype=torch.bool)
    rest[chosen] = False
    first = torch.cat([chosen, rest.nonzero().flatten()])
    moved = attacked.of(first)
    images, guess = torch.cat(made), class_guess(known, moved.labels)
    return Attacked(leak(images, moved, guess), moved.images[:SHOWN], guess[:SHOWN], images[:SHOWN])


def _batches(attacked: Seen, order: Tensor, size: int) -> list[Tensor]:
    """Return the images of `NUM_BATCHES` batches, by number: each in one, its labels as different as can be."""
    left, found = order.tolist(), []
    for _ in range(min(NUM_BATCHES, len(left) // size)):
        batch: list[int] = []
        while len(batch) < size:
            labels = {int(attacked.labels[number]) for number in batch}
            fresh = (number for number in left if int(attacked.labels[number]) not in labels)
            number = next(fresh, left[0])
            left.remove(number)
            batch.append(number)
        found.append(torch.tensor(batch))
    return found


def _told(folder: Path) -> tuple[Run, Shards, Seen, Seen]:
    """Return a run, its data, what colluders tell the server, and what the others sent."""
    torch.set_num_threads(1)  # sums do not depend on how many there are
    run = Run(folder)
    _, shards = assembly.open_run(run.config.to_json())
    helpers = colluders(run.config.seed, shards.num_clients)
    others = [client for client in range(shards.num_clients) if client not in helpers]
    known = seen(run, shards, helpers, all_splits=True)
    return run, shards, known, seen(run, shards, others, all_splits=False)
