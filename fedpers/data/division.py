"""Who holds which sample, in which split: a partition's shares, checked and cut, and the public samples beside them."""

import hashlib
from typing import Any

import numpy as np

from fedpers import seeds
from fedpers.config.keys import Config
from fedpers.data.images import Images
from fedpers.data.partitions.base import Indices, Partition
from fedpers.errors import UserError

Assignment = list[tuple[Indices, Indices, Indices]]
"""Each client's train, validation and test indices."""


def assign(
    labels: Indices, partition: Partition, splits: list[float], seed: int, owners: Indices | None = None
) -> Assignment:
    """Return every client's train, validation and test indices: disjoint, and none empty that has a share.

    Raises:
        UserError: a client would have nothing to train on or to be scored on.
    """
    clients = []
    for client, share in enumerate(_checked(partition.assign(labels, seed, owners), len(labels), partition)):
        order = seeds.numpy_generator(seed, "splits", client=client).permutation(share)
        num_test = max(1, round(splits[2] * len(order)))
        num_val = max(1, round(splits[1] * len(order))) if splits[1] > 0 else 0
        num_train = len(order) - num_test - num_val
        if num_train < 1:
            raise UserError(
                f"client {client} holds {len(order)} samples, too few for splits={splits}. "
                "Accepted: a larger partition.min_samples or a larger share for training"
            )
        train, val, test = np.split(order, [num_train, num_train + num_val])
        clients.append((train, val, test))
    return clients


def _checked(shares: Any, size: int, partition: Partition) -> list[Indices]:
    """Return the clients' shares if no sample is in two of them.

    Raises:
        UserError: the partition, which may be a plugin's, has divided something else.
    """
    kind = f"partition._target_={type(partition).__module__}.{type(partition).__qualname__}"
    arrays = [np.asarray(share) for share in shares]
    for client, share in enumerate(arrays):
        if (
            share.ndim != 1
            or share.dtype.kind not in "iu"
            or (len(share) and not 0 <= share.min() <= share.max() < size)
        ):
            raise UserError(
                f"{kind} gives client {client} what are no samples of the dataset ({share.dtype}, {share.shape}). "
                f"Accepted: whole numbers from 0 to {size - 1}"
            )
    uses = np.bincount(np.concatenate([np.zeros(0, np.int64), *arrays]), minlength=size)
    if uses.max(initial=0) > 1:
        raise UserError(f"{kind} gives sample {int(uses.argmax())} to clients {uses.max()} times. Accepted: once")
    return arrays


def divide(images: Images, partition: Partition, config: Config) -> tuple[Assignment, Indices]:
    """Return every client's indices, and those of the public samples, which no client holds.

    They are drawn from what the partition leaves over, so that it is the same with them and without; where that is
    not enough, they are drawn before the partition.
    """
    assignment = assign(images.labels, partition, config.splits, config.seed, images.owners)
    if not config.public_samples:
        return assignment, np.zeros(0, np.int64)
    everything = np.arange(len(images.labels))
    left = np.setdiff1d(everything, np.concatenate([part for parts in assignment for part in parts]))
    if config.public_samples <= len(left):
        drawn = seeds.numpy_generator(config.seed, "public").permutation(left)[: config.public_samples]
        return assignment, np.sort(drawn)
    public = hold_out(len(images.labels), config.public_samples, config.seed)
    rest = np.setdiff1d(everything, public)
    owners = None if images.owners is None else images.owners[rest]
    shares = assign(images.labels[rest], partition, config.splits, config.seed, owners)
    return [(rest[train], rest[val], rest[test]) for train, val, test in shares], public


def hold_out(size: int, count: int, seed: int) -> Indices:
    """Return the indices of the public samples, in ascending order; no client will hold them.

    Raises:
        UserError: nothing would be left.
    """
    if count >= size:
        raise UserError(f"public_samples={count} is not possible. Accepted: fewer than the dataset's {size} samples")
    return np.sort(seeds.numpy_generator(seed, "public").permutation(size)[:count])


def assignment_sha256(assignment: Assignment) -> str:
    """Return a hash of who holds which sample in which split, the same on every machine."""
    digest = hashlib.sha256()
    for client in assignment:
        for part in client:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part.astype("<i8").data)
    return digest.hexdigest()
