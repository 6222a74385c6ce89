"""A SuperLink and three SuperNodes on this machine, each with a partition of its own, run FedD2S for three rounds.

    python -m experiments.superlink [key=value ...]

It says which commands it starts, so that the same can be done by hand, on several machines; see docs/flower.md. All
processes listen on loopback only and end with this one.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from fedpers import run
from fedpers.engines.flower.engine import write_connection
from fedpers.engines.flower.processes import executable, free_port, start, stop_on_exit, wait_until_healthy
from fedpers.errors import FederationError
from fedpers.scratch import scratch_folder

NUM_NODES = 3
CONNECTION = "three-nodes"


def main(arguments: Sequence[str]) -> int:
    """Start the processes, run the federation by `engine=flower`, end the processes; return the exit code."""
    with scratch_folder("fedpers-superlink-") as home, ExitStack() as stack:
        address = f"127.0.0.1:{free_port()}"
        host, _, port = address.partition(":")
        write_connection(home, CONNECTION, address)
        link = ["flower-superlink", "--insecure", "--host", host, "--port", port]
        process = stack.enter_context(_started(link, home))
        try:
            wait_until_healthy(process, address, 60.0)
        except FederationError as error:
            sys.stderr.write(f"error: {error}\n{(home / 'flower-superlink.log').read_text()}")
            return run.FAILED
        for number in range(NUM_NODES):
            node = ["flower-supernode", "--insecure", "--superlink", address, "--port", str(free_port())]
            node += ["--node-config", f"partition-id={number} num-partitions={NUM_NODES}"]
            stack.enter_context(_started(node, home, f"-{number}"))
        os.environ["FLWR_HOME"] = str(home)
        federation = ["engine=flower", f"engine.superlink={CONNECTION}", f"partition.num_clients={NUM_NODES}"]
        command = ["dataset=digits", "rounds=3", "eval_every=1", *federation, *arguments]
        sys.stdout.write(f"$ python -m fedpers.run {shlex.join(command)}\n")
        sys.stdout.flush()
        return run.main(command)


def _started(command: list[str], home: Path, suffix: str = "") -> "AbstractContextManager[subprocess.Popen[bytes]]":
    """Start one of Flower's commands, after saying so."""
    sys.stdout.write(f"$ {shlex.join(command)} &\n")
    return stop_on_exit(start([executable(command[0]), *command[1:]], home / f"{command[0]}{suffix}.log", home))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
