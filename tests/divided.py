"""Labels to divide among clients, and partitions that divide them."""

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from ondisk import read_spec

from fedpers.config.build import build
from fedpers.data.partitions.base import Iid, Partition
from fedpers.data.partitions.label_skew import Dirichlet, Pathological

LABELS = np.random.default_rng(0).permutation(np.arange(600) % 10)
MANY_LABELS = np.random.default_rng(0).permutation(np.arange(1200) % 10)
OWNERS = np.random.default_rng(1).integers(0, 30, 1200)
SPLITS = [0.6, 0.15, 0.25]

few = settings(max_examples=15, deadline=None, derandomize=True)
clients = st.integers(1, 8)
run_seeds = st.integers(0, 10_000)


def partition(name: str, **changes: Any) -> Partition:
    made: Partition = build(read_spec("partition", name) | {"min_samples": 3} | changes, "partition")
    return made


def iid(num_clients: int, **changes: Any) -> Iid:
    return Iid(**{"num_clients": num_clients, "min_samples": 3, "max_samples": None} | changes)


def dirichlet(num_clients: int, alpha: float, **changes: Any) -> Dirichlet:
    values = {"num_clients": num_clients, "min_samples": 3, "max_samples": None, "alpha": alpha, "balanced": False}
    return Dirichlet(**values | changes)


def pathological(num_clients: int, classes: int, **changes: Any) -> Pathological:
    values = {"num_clients": num_clients, "min_samples": 3, "max_samples": None}
    return Pathological(**values | {"classes_per_client": classes} | changes)
