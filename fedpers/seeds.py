"""Every random stream, derived from (seed, round, client, purpose).

Nothing in fedpers draws from a global generator: two runs with one seed draw the same numbers whatever the
engine, the number of workers or the order in which clients happen to finish.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

SERVER = -1
"""The client number of streams that belong to the server."""


def derive(seed: int, purpose: str, *, round: int = 0, client: int = SERVER) -> int:
    """Return a 63-bit seed for one purpose in one round of one client, the same on every machine."""
    text = f"fedpers:{seed}:{round}:{client}:{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def torch_generator(seed: int, purpose: str, *, round: int = 0, client: int = SERVER) -> torch.Generator:
    """Return a CPU generator for one stream."""
    return torch.Generator().manual_seed(derive(seed, purpose, round=round, client=client))


def numpy_generator(seed: int, purpose: str, *, round: int = 0, client: int = SERVER) -> np.random.Generator:
    """Return a NumPy generator for one stream."""
    return np.random.default_rng(derive(seed, purpose, round=round, client=client))


@contextmanager
def seeded_initialization(seed: int, purpose: str) -> Iterator[None]:
    """Let modules built in this block draw their initial weights from one stream.

    PyTorch's initializers know the global generator only: it is seeded here and put back afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, purpose))
        yield
