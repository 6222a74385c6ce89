"""A run's state on disk: what the server half and every client remember after a round, so that a run can go on.

A checkpoint is `checkpoint/round-00012.json`. It names the files of tensors (safetensors) that belong to it, each with
its SHA-256: the server's state, and clients' memories, many to a file. Memories that have not changed stay in the file
of an earlier checkpoint. Every file is written under another name, flushed to the disk and renamed, the JSON last: a
checkpoint is there as a whole or not at all. The last two are kept, and the files that they name.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from fedpers.errors import UserError, writing
from fedpers.scratch import replaced
from fedpers.state import read_tensors, sha256, size_of, take_apart, to_bytes
from fedpers.task import State

FOLDER = "checkpoint"
FORMAT = 1
NUM_KEPT = 2

SHARE = 0.03
"""What checkpoints may cost of a run's time when nobody has said after how many rounds they are due."""

PAUSE = 10.0
"""Seconds between two such checkpoints, at least."""

FILE_BYTES = 64 * 2**20
"""Memories are put into files of this size: that much is held in memory twice while they are written."""

STALE = 0.5
"""A file is given up when less than this share of it is still in use: what is is written again."""


@runtime_checkable
class Remembers(Protocol):
    """Knows what clients remember, and what of it has changed since it was last written."""

    def end_round(self) -> None:
        """Let the memories that a round has made take the place of the earlier ones."""

    def remembering(self) -> set[int]:
        """Return the clients that remembered something when the last round ended."""

    def changed(self) -> set[int]:
        """Return those whose memory is another one than when it was last written."""

    def memory(self, client: int) -> State:
        """Return what a client remembered when the last round ended; not to be written to."""

    def written(self, clients: set[int]) -> None:
        """Be told whose memory has been written."""

    def remind(self, client: int, memory: State) -> None:
        """Give a client its memory, before the first round."""


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds.

    Args:
        round: The round after which it was written.
        seconds: What the run had taken until then.
        tensors: The server's tensors by path, `plain` the rest of its state: `fedpers.state` puts them together.
        plain: See there.
        memories: What each client remembers.
    """

    round: int
    seconds: float
    tensors: State
    plain: Any
    memories: dict[int, State]


class Home(NamedTuple):
    """Where a client's memory lies.

    Args:
        file: The file.
        bytes: Its size there.
        names: Its tensors' names in their order, which the file does not keep.
    """

    file: str
    bytes: int
    names: tuple[str, ...]


class Checkpoints:
    """Writes the checkpoints of one run.

    Args:
        folder: The run directory.
        every: Rounds between two; None: as often as costs little, see `SHARE`; 0: none.
        clock: Tells seconds.
    """

    def __init__(self, folder: Path, every: int | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        """Go on from the checkpoints that there are, if there are any."""
        self.folder, self.every, self._clock = folder / FOLDER, every, clock
        self._cost, self._last = 0.0, clock()
        self._homes: dict[int, Home] = {}
        self._files: dict[str, dict[str, Any]] = {}  # "sha256", and the "bytes" of all its tensors
        for path in _manifests(self.folder)[:1]:
            found = _manifest(path)
            self._files, self._homes = found["files"], _homes(found)

    def due(self, round: int) -> bool:
        """Tell whether there should be a checkpoint after a round."""
        if self.every is not None:
            return self.every > 0 and round % self.every == 0
        return self._clock() - self._last >= max(PAUSE, self._cost / SHARE)

    def write(self, round: int, seconds: float, state: Any, clients: Remembers) -> None:
        """Write a checkpoint.

        Args:
            round: The round that has ended.
            seconds: What the run has taken so far.
            state: The server's state, as `fedpers.state` takes it.
            clients: Knows the clients' memories.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        start = self._clock()
        with _writing(self.folder):
            self.folder.mkdir(exist_ok=True)
            name = f"round-{round:05d}"
            tensors, plain = take_apart(state)
            self._write_tensors(f"{name}-server.safetensors", tensors)
            new, known = clients.changed(), clients.remembering()
            self._homes = {client: home for client, home in self._homes.items() if client in known - new}
            new |= self._stale()
            self._write_memories(name, sorted(new), clients)
            used = {f"{name}-server.safetensors", *(home.file for home in self._homes.values())}
            orders = list(dict.fromkeys(home.names for home in self._homes.values()))
            self._files = {file: about for file, about in self._files.items() if file in used}
            content = {
                "format": FORMAT,
                "round": round,
                "seconds": seconds,
                "server": {"file": f"{name}-server.safetensors", "plain": plain},
                "orders": orders,
                "clients": {
                    str(client): {"file": home.file, "bytes": home.bytes, "order": orders.index(home.names)}
                    for client, home in self._homes.items()
                },
                "files": self._files,
            }
            _write(self.folder / f"{name}.json", json.dumps(content).encode())
            clients.written(new)
            self._tidy()
        self._last = self._clock()
        self._cost = self._last - start

    def _stale(self) -> set[int]:
        """Return the clients whose memories lie in files of which little else is in use."""
        living: dict[str, int] = {}
        for home in self._homes.values():
            living[home.file] = living.get(home.file, 0) + home.bytes
        stale = {file for file, size in living.items() if size < STALE * self._files[file]["bytes"]}
        return {client for client, home in self._homes.items() if home.file in stale}

    def _write_memories(self, name: str, new: list[int], clients: Remembers) -> None:
        waiting: State = {}
        size = number = 0
        for client in new:
            memory, home = clients.memory(client), f"{name}-clients-{number}.safetensors"
            waiting |= {f"{client}|{key}": tensor for key, tensor in memory.items()}
            self._homes[client] = Home(home, size_of(memory), tuple(memory))
            size += self._homes[client].bytes
            if size >= FILE_BYTES or client == new[-1]:
                self._write_tensors(home, waiting)
                waiting, size, number = {}, 0, number + 1

    def _write_tensors(self, name: str, tensors: State) -> None:
        data = to_bytes(tensors)
        self._files[name] = {"sha256": sha256(data), "bytes": size_of(tensors)}
        _write(self.folder / name, data)

    def _tidy(self) -> None:
        """Remove checkpoints but the last two, what they alone named, and what a killed run left half-written."""
        manifests = _manifests(self.folder)
        used = {path.name for path in manifests[:NUM_KEPT]}
        for path in manifests[:NUM_KEPT]:
            used |= _manifest(path)["files"].keys()
        for path in self.folder.iterdir():
            if path.name not in used:
                path.unlink()


def read(folder: Path) -> Snapshot | None:
    """Return the last checkpoint of a run directory that is whole; None if there is none at all.

    Raises:
        UserError: there are checkpoints, but all of them are damaged.
    """
    damage = ""
    for path in _manifests(folder / FOLDER):
        try:
            found = _manifest(path)
            files = {name: read_tensors(path.parent / name, about["sha256"]) for name, about in found["files"].items()}
        except (OSError, ValueError, KeyError) as error:
            damage = damage or f"{path}: {error}"
            continue
        memories = {
            client: {key: files[home.file][f"{client}|{key}"] for key in home.names}
            for client, home in _homes(found).items()
        }
        server = found["server"]
        return Snapshot(found["round"], found["seconds"], files[server["file"]], server["plain"], memories)
    if damage:
        raise UserError(
            f"the checkpoints of {folder} are damaged ({damage}), so that it cannot go on. Its finished rounds can be "
            "read; start it anew with another out=DIR"
        )
    return None


def last_round(folder: Path) -> int:
    """Return the round of a run directory's last checkpoint, whole or not; 0 if there is none."""
    return next((int(path.stem.partition("-")[2]) for path in _manifests(folder / FOLDER)), 0)


def forget_after(folder: Path, round: int) -> None:
    """Remove the checkpoints after a round: damaged ones, or of rounds that are to be run again."""
    for path in _manifests(folder / FOLDER):
        if int(path.stem.partition("-")[2]) > round:
            with _writing(path.parent):
                path.unlink()


def _manifests(folder: Path) -> list[Path]:
    """Return the JSON files of checkpoints, the last one first."""
    return sorted(folder.glob("round-*.json"), reverse=True)


def _manifest(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError("it is of another version of fedpers")
    return found


def _homes(found: dict[str, Any]) -> dict[int, Home]:
    orders = [tuple(names) for names in found["orders"]]
    return {
        int(client): Home(home["file"], home["bytes"], orders[home["order"]])
        for client, home in found["clients"].items()
    }


def _writing(folder: Path) -> AbstractContextManager[None]:
    return writing(
        f"the checkpoint in {folder}",
        "Make room, or write none with checkpoint_every=0; the results of finished rounds are kept",
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file so that it is there as a whole or not at all, whatever ends the process or the machine."""
    with replaced(path) as scratch, scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
