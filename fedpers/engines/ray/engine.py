"""Engine `ray`: worker processes on the CPUs and GPUs of a machine or a cluster; see `ray_grid` and `ray_round`."""

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flwr.serverapp import Grid

from fedpers import client_app
from fedpers.config.keys import Config
from fedpers.data.shards import Shards
from fedpers.device import check_reserved
from fedpers.endings import keeping_signals, within
from fedpers.engines.grid import OpensGrid, check_client_timeout
from fedpers.engines.local import limit_torch_threads
from fedpers.errors import UserError
from fedpers.given import given_to
from fedpers.guardian import guarded

_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray reads it when it is imported: 0 binds all its services to loopback, whatever the operating system."""


@dataclass(frozen=True)
class RayEngine(OpensGrid):
    """Run clients in Ray actors and the server in this process.

    Args:
        num_workers: Actors; None for as many as the resources allow.
        resources: What each actor reserves: `num_cpus`, `num_gpus`, and custom resources of a cluster by name.
        address: None for a Ray of its own on this machine, otherwise that of a cluster: `auto` or `ray://HOST:PORT`.
        retries: Times that clients are called again whose actor died; 0 lets them miss the round.
        start_timeout: Seconds to wait for Ray, and again for the actors.
        client_timeout: Seconds that a client may take for an answer, training or scoring; None for as long as it wants.
            The actor of one that takes longer ends itself, and another one takes its place.
    """

    num_workers: int | None
    resources: dict[str, float]
    address: str | None
    retries: int
    start_timeout: float
    client_timeout: float | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.num_workers is not None and self.num_workers < 1:
            raise UserError(f"engine.num_workers={self.num_workers} is not possible. Accepted: at least 1, or null")
        if self.retries < 0:
            raise UserError(f"engine.retries={self.retries} is not possible. Accepted: at least 0")
        check_client_timeout(self.client_timeout)
        if not self.start_timeout > 0:
            raise UserError(f"engine.start_timeout={self.start_timeout} is not possible. Accepted: seconds above 0")
        for name, amount in self.resources.items():
            if isinstance(amount, bool) or not isinstance(amount, int | float) or amount < 0:
                raise UserError(f"engine.resources.{name}={amount!r} is not possible. Accepted: a number of at least 0")
        if not any(self.resources.values()):
            raise UserError("engine.resources reserves nothing. Accepted: num_cpus or another resource above 0")

    @contextmanager
    def opened(self, config: Config, shards: Shards) -> Iterator[Grid]:
        """Open a Grid of the clients that the prepared data has.

        Raises:
            UserError: there is no such cluster, or it is too small.
            FederationError: no worker has started in time.
        """
        check_reserved(config.device, self.resources)
        limit_torch_threads()
        with keeping_signals():
            self._connect(config.debug)
        from fedpers.engines.ray.grid import RayGrid

        objects = given_to(config)
        grid = RayGrid(
            client_app.run_config(config, shards),
            shards.sizes.tolist(),
            lambda *run: self._actor().remote(*run, sys.path, config.debug, self.client_timeout, objects),
            self._count_workers(),
            self.retries,
            self.client_timeout,
            self.start_timeout,
        )
        try:
            yield grid
        finally:
            grid.close()

    def _connect(self, debug: bool) -> None:
        """Start a Ray of one's own, bound to loopback, or join a cluster; a process does so once."""
        if self.address is None:
            os.environ.setdefault(_LOOPBACK, "0")
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no telemetry
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # otherwise Ray announces that it will be so
        import ray

        if ray.is_initialized():
            return
        quiet: dict[str, Any] = {"log_to_driver": debug, "logging_level": logging.INFO if debug else logging.ERROR}
        if self.address is None:
            wanted = int(-(-(self.num_workers or 1) * self.resources.get("num_cpus", 0) // 1))
            num_cpus = max(wanted, len(os.sched_getaffinity(0)))
            try:
                with guarded(), within(self.start_timeout, "engine.start_timeout"):
                    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **quiet)
            except Exception as error:  # of many kinds: no room, no ports, a path that is too long
                ray.shutdown()  # of what has been started
                folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
                raise UserError(
                    f"engine=ray: Ray could not be started ({' '.join(str(error).split())}). Accepted: a folder for "
                    f"its files where it can, RAY_TMPDIR=DIR (now {folder}), or engine=local"
                ) from error
            return
        try:
            _knock(self.address)
            with within(self.start_timeout, "engine.start_timeout"):
                ray.init(address=self.address, **quiet)
        except (OSError, ValueError) as error:
            raise UserError(
                f"engine.address={self.address}: no Ray cluster was found there ({' '.join(str(error).split())}). "
                "Accepted: null, auto or ray://HOST:PORT of a cluster that was started with `ray start`"
            ) from error

    def _count_workers(self) -> int:
        """Return the number of actors, checked against what the cluster has."""
        import ray

        has = ray.cluster_resources()
        named = {{"num_cpus": "CPU", "num_gpus": "GPU"}.get(key, key): value for key, value in self.resources.items()}
        room = min(int(has.get(name, 0) / amount + 1e-9) for name, amount in named.items() if amount)
        if room < (self.num_workers or 1):
            found = ", ".join(f"{has.get(name, 0):g} {name}" for name in named)
            raise UserError(
                f"engine.num_workers={self.num_workers} with engine.resources={self.resources} needs more than there "
                f"is: {found}. Accepted: at most {room} workers, or fewer resources for each"
            )
        return self.num_workers or room

    def _actor(self) -> Any:
        """Return the actor class with its reservations."""
        import ray

        from fedpers.engines.ray.worker import RayWorker

        own = {name: amount for name, amount in self.resources.items() if name in ("num_cpus", "num_gpus")}
        custom = {name: amount for name, amount in self.resources.items() if name not in own}
        return ray.remote(RayWorker).options(**own, resources=custom)


def _knock(address: str) -> None:
    """Raise an OSError if nothing listens at an address; Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
