"""Engine `flower`: Flower's own runtimes, driven by `flwr run`; its ServerApp and ClientApps are ours.

Without `superlink` a SuperLink is started here in simulation mode, bound to loopback, with a Flower home of its own,
and ended with the run. With it, the run goes to a SuperLink that exists, and to the SuperNodes connected to it. The
server then runs in Flower's process and writes the run directory; this one reads along to show the progress.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from flwr.serverapp import Grid

from fedpers import client_app
from fedpers.config.keys import Config
from fedpers.data.shards import Shards
from fedpers.device import check_reserved
from fedpers.engines.flower.processes import environment, executable, free_port, start, stop_on_exit, wait_until_healthy
from fedpers.errors import FederationError, UserError
from fedpers.progress import Reporter
from fedpers.results import read_round
from fedpers.results.writer import FAILURE
from fedpers.scratch import scratch_folder
from fedpers.wire import records

APP = """\
[project]
name = "fedpers-run"
version = "0.1.0"
description = "A run of fedpers"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "fedpers"
[tool.flwr.app.components]
serverapp = "fedpers.server_app:app"
clientapp = "fedpers.client_app:app"
[tool.flwr.app.config]
config = ""
prepared = ""
"""
"""What Flower bundles: both apps are imported from the fedpers that is installed."""

CONNECTION = "fedpers"
LOG = "flower.log"
STARTED = "Successfully started run"
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class FlowerEngine:
    """Run the federation in Flower's simulation runtime, or on a SuperLink and its SuperNodes.

    Args:
        superlink: The name of a connection in Flower's configuration; None starts a SuperLink for a simulation.
        resources: For a simulation: what each client reserves, `num_cpus` and `num_gpus`.
        start_timeout: Seconds to wait for a SuperLink of one's own.
    """

    superlink: str | None
    resources: dict[str, float]
    start_timeout: float
    keeps_state: ClassVar[bool] = False
    takes_objects: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.start_timeout > 0:
            raise UserError(f"engine.start_timeout={self.start_timeout} is not possible. Accepted: seconds above 0")
        for name, amount in self.resources.items():
            if name not in ("num_cpus", "num_gpus"):
                raise UserError(f"engine.resources.{name} is not possible. Accepted: num_cpus and num_gpus")
            if isinstance(amount, bool) or not isinstance(amount, int | float) or amount < 0:
                raise UserError(f"engine.resources.{name}={amount!r} is not possible. Accepted: a number of at least 0")

    def run(self, config: Config, shards: Shards, serve: Callable[[Grid], None], reporter: Reporter) -> None:
        """Let Flower serve the run; `serve` is not called, its work is done by `fedpers.server_app.main`.

        Raises:
            UserError: there is no such SuperLink, or the configuration is impossible.
            FederationError: Flower ended without results.
        """
        if self.superlink is None:
            check_reserved(config.device, self.resources)
        folder = Path(str(config.out)).resolve()
        settings = client_app.run_config(dataclasses.replace(config, out=str(folder)), shards)
        with scratch_folder("fedpers-flower-") as scratch, ExitStack() as stack:
            log = scratch / LOG
            stack.callback(_keep, log, folder)
            (scratch / "app").mkdir()
            (scratch / "app" / "pyproject.toml").write_text(APP)
            (scratch / "run.toml").write_text(_toml(settings), encoding="utf-8")
            command = [executable("flwr"), "run", str(scratch / "app")]
            home: Path | None = None
            if self.superlink is None:
                home = scratch / "home"
                stack.enter_context(own_superlink(home, log, self.start_timeout))
            command += [self.superlink or CONNECTION, "--stream", "--run-config", str(scratch / "run.toml")]
            if self.superlink is None:
                command += ["--federation-config", self._simulation(shards.num_clients)]
            process = stack.enter_context(stop_on_exit(start(command, log, home)))
            apart = config.unseen_clients(shards.num_clients) | config.attackers(shards.num_clients)
            try:
                _follow(process, folder, apart, reporter)
            except BaseException:
                if self.superlink is not None:
                    _stop_run(self.superlink, log)
                raise
        _check(folder, self.superlink)

    def _simulation(self, num_clients: int) -> str:
        """Return the federation's size and each client's share of the machine as Flower wants them."""
        shares = {f"client-resources-{name.replace('_', '-')}": amount for name, amount in self.resources.items()}
        settings: dict[str, float | str] = {
            "num-supernodes": num_clients,
            **shares,
            "init-args-log-to-driver": "false",
            "init-args-logging-level": '"error"',
        }
        return " ".join(f"{key}={_number(value)}" for key, value in settings.items())


def _number(value: float | str) -> str:
    """Write a whole number as one: Flower takes CPUs as an integer."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _toml(values: records.RunConfig) -> str:
    """Write a run's configuration; a JSON string is a TOML string, but for DEL and characters in two halves."""
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    return "".join(lines).replace("\x7f", "\\u007f")


@contextmanager
def own_superlink(home: Path, log: Path, timeout: float) -> Iterator[str]:
    """Run a SuperLink for simulations on a free port of loopback, known to Flower under `home` as CONNECTION.

    Yields:
        Its address.

    Raises:
        FederationError: it did not start in time.
    """
    address = f"127.0.0.1:{free_port()}"
    write_connection(home, CONNECTION, address)
    host, _, port = address.partition(":")
    command = [executable("flower-superlink"), "--insecure", "--simulation", "--host", host, "--port", port]
    with stop_on_exit(start(command, log, home)) as process:
        wait_until_healthy(process, address, timeout)
        yield address


def write_connection(home: Path, name: str, address: str) -> None:
    """Tell Flower's commands, whose home this is, of a SuperLink on this machine."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(f'[superlink.{name}]\naddress = "{address}"\ninsecure = true\n')


def _follow(process: "subprocess.Popen[bytes]", folder: Path, unseen: frozenset[int], reporter: Reporter) -> None:
    """Report rounds that another process writes, as `server_app.serve` does, until `flwr run` ends."""
    round = 1
    while True:
        ended = process.poll() is not None
        while (tables := read_round(folder, round)) is not None:
            rows, entries = tables
            reporter.round_done(round, [row for row in rows if row.client not in unseen], entries)
            round += 1
        if ended:
            return
        time.sleep(POLL_SECONDS)


def _stop_run(connection: str, log: Path) -> None:
    """Ask a SuperLink that goes on living to stop what was started on it."""
    started = re.search(rf"{STARTED} (\d+)", log.read_text(errors="replace"))
    if started:
        command = [executable("flwr"), "stop", started[1], connection]
        subprocess.run(command, env=environment(None), capture_output=True, timeout=10, check=False)


def _keep(log: Path, folder: Path) -> None:
    """Put Flower's log into the run directory."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(log, folder / LOG)


def _check(folder: Path, superlink: str | None) -> None:
    """Raise what ended the run before it was whole."""
    if (folder / "summary.json").is_file():
        return
    try:
        failure = json.loads((folder / FAILURE).read_text())
    except FileNotFoundError:
        pass
    else:
        raise (UserError if failure["error"] == "UserError" else FederationError)(failure["message"])
    text = (folder / LOG).read_text(errors="replace")
    if superlink is not None and STARTED not in text:
        raise UserError(
            f"engine.superlink={superlink}: no SuperLink was found there ({_last_words(text)}). Accepted: null, or the "
            f"name of a connection in {os.environ.get('FLWR_HOME', '~/.flwr')}/config.toml to a SuperLink that runs"
        )
    raise FederationError(f"Flower ended without results: {_last_words(text)}. Its log is {folder / LOG}")


def _last_words(log: str) -> str:
    """Return why a log ends: its last frame, in which Flower's commands say what is wrong, the first of its errors.

    That is what the others came from. Without either it is the last line.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    raised = re.search(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)+(\S.*)$", plain, re.MULTILINE)
    if raised:
        return raised[1].strip().rstrip(".")
    framed = re.findall(r"^│(.*)│$", plain.rpartition("╭")[2], re.MULTILINE)
    lines = framed or plain.strip().splitlines()[-1:] or ["its log is empty"]
    return " ".join(" ".join(lines).split()).rstrip(".")
