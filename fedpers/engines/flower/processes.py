"""Flower's commands as child processes: found beside this Python, quiet, on loopback, and ended with their heirs."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from fedpers.errors import FederationError, UserError
from fedpers.guardian import guarded

SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    # otherwise uv installs the app's dependencies, gigabytes of them, into an environment of the run's own
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's services on loopback, see engines/ray.py
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ADDRESS": "local",  # otherwise a simulation joins whatever cluster this machine has, and ends with it
    "OMP_NUM_THREADS": "1",  # clients and server alike: how many there are may change the last bits of a sum
    "PYTHONUNBUFFERED": "1",
}


def environment(home: Path | None) -> dict[str, str]:
    """Return the environment of Flower's commands: our modules, our settings, and a home unless it is the user's."""
    modules = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {"FLWR_HOME": str(home)} if home else {}
    return {**os.environ, **SETTINGS, "PYTHONPATH": modules, "PATH": commands, **own}


def executable(name: str) -> str:
    """Return the path of one of Flower's commands, which lie beside the Python that runs.

    Raises:
        UserError: it is not there.
    """
    found = shutil.which(name, path=environment(None)["PATH"])
    if found is None:
        raise UserError(
            f"the command {name} was not found beside {sys.executable}. Install flwr there: pip install flwr"
        )
    return found


def start(command: Sequence[str], log: Path, home: Path | None) -> "subprocess.Popen[bytes]":
    """Start a command whose output is appended to a log; Ctrl-C is left to this process."""
    with log.open("ab") as output, guarded():
        return subprocess.Popen(
            command,
            env=environment(home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


@contextmanager
def stop_on_exit(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """End a process, and all that it has started, when the block is left."""
    try:
        yield process
    finally:
        try:
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        except psutil.NoSuchProcess:
            family = []
        for member in family:
            try:
                member.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=5)
        process.wait()


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(process: "subprocess.Popen[bytes]", address: str, timeout: float) -> None:
    """Wait for a SuperLink on this machine.

    Raises:
        FederationError: it has ended, or has not answered in time.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{address}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    state = "has not answered in time" if process.poll() is None else f"ended with exit code {process.returncode}"
    raise FederationError(f"Flower's SuperLink {state}; see flower.log in the run directory")
