"""Checkpoints: what is written, what is kept, what is brought back, and what a broken one leads to."""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from fedpers import checkpoint
from fedpers.algorithm import ServerState, State
from fedpers.checkpoint import Checkpoints, forget_after, read
from fedpers.errors import UserError
from fedpers.state import put_together


@dataclass
class Clients:
    """What clients remember, by hand."""

    memories: dict[int, State]
    fresh: set[int] = field(default_factory=set)

    def end_round(self) -> None:
        """Do nothing."""

    def remembering(self) -> set[int]:
        return set(self.memories)

    def changed(self) -> set[int]:
        return set(self.fresh)

    def memory(self, client: int) -> State:
        return self.memories[client]

    def written(self, clients: set[int]) -> None:
        self.fresh -= clients

    def remind(self, client: int, memory: State) -> None:
        self.memories[client] = memory

    def train(self, client: int, value: float, size: int = 4) -> None:
        """Let a client remember something new."""
        self.memories[client] = {"head.weight": torch.full((size,), value), "count/steps": torch.tensor(round(value))}
        self.fresh.add(client)


def state(value: float) -> ServerState:
    return ServerState({"w": torch.tensor([value, -0.0]), "half": torch.tensor(value, dtype=torch.bfloat16)})


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoint").iterdir())


def write(folder: Path, clients: Clients, round: int) -> None:
    Checkpoints(folder).write(round, float(round), state(round), clients)


def test_what_is_written_comes_back_to_the_bit(tmp_path: Path) -> None:
    clients = Clients({})
    clients.train(0, 1.5)
    clients.train(7, 2.5, 1)
    write(tmp_path, clients, 3)
    found = read(tmp_path)
    assert found is not None
    assert (found.round, found.seconds) == (3, 3.0)
    back = put_together(ServerState, found.tensors, found.plain)
    assert list(back.shared) == ["w", "half"]
    assert back.shared["half"].dtype == torch.bfloat16
    assert back.shared["w"].numpy().tobytes() == state(3).shared["w"].numpy().tobytes()
    assert set(found.memories) == {0, 7}
    for client, memory in clients.memories.items():
        assert list(found.memories[client]) == list(memory)
        assert all(torch.equal(found.memories[client][key], memory[key]) for key in memory)


def test_there_is_nothing_to_read_before_the_first(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    assert checkpoint.last_round(tmp_path) == 0


def test_only_memories_that_changed_are_written_again(tmp_path: Path) -> None:
    clients, checkpoints = Clients({}), Checkpoints(tmp_path)
    for client in range(4):
        clients.train(client, 1.0, 1000)
    checkpoints.write(1, 1.0, state(1), clients)
    clients.train(2, 5.0, 1000)
    checkpoints.write(2, 2.0, state(2), clients)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "checkpoint").iterdir()}
    assert sizes["round-00002-clients-0.safetensors"] < 0.3 * sizes["round-00001-clients-0.safetensors"]
    found = read(tmp_path)
    assert found is not None
    assert [float(found.memories[client]["head.weight"][0]) for client in range(4)] == [1.0, 1.0, 5.0, 1.0]


def test_a_file_of_which_little_is_in_use_is_given_up(tmp_path: Path) -> None:
    clients, checkpoints = Clients({}), Checkpoints(tmp_path)
    for client in range(4):
        clients.train(client, 1.0)
    checkpoints.write(1, 1.0, state(1), clients)
    for number, client in enumerate((0, 1, 2), start=2):
        clients.train(client, float(number))
        checkpoints.write(number, 0.0, state(number), clients)
    checkpoints.write(5, 0.0, state(5), clients)
    assert "round-00001-clients-0.safetensors" not in files(tmp_path)  # client 3's memory was the last in it
    found = read(tmp_path)
    assert found is not None
    assert [float(found.memories[client]["head.weight"][0]) for client in range(4)] == [2.0, 3.0, 4.0, 1.0]


def test_the_last_two_are_kept_and_what_a_killed_run_left_goes(tmp_path: Path) -> None:
    clients, checkpoints = Clients({}), Checkpoints(tmp_path)
    for number in (1, 2, 3):
        clients.train(0, number)
        checkpoints.write(number, 0.0, state(number), clients)
        (tmp_path / "checkpoint" / ".round-00009-server.safetensors").write_bytes(b"half")
    checkpoints.write(4, 0.0, state(4), clients)
    assert [name for name in files(tmp_path) if name.endswith(".json")] == ["round-00003.json", "round-00004.json"]
    assert not [name for name in files(tmp_path) if "round-00001" in name or name.startswith(".")]


def test_many_memories_are_put_into_several_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "FILE_BYTES", 100)
    clients = Clients({})
    for client in range(5):
        clients.train(client, client, 10)
    write(tmp_path, clients, 1)
    assert len([name for name in files(tmp_path) if "clients" in name]) == 3  # 48 bytes a client
    found = read(tmp_path)
    assert found is not None
    assert [int(found.memories[client]["count/steps"]) for client in range(5)] == [0, 1, 2, 3, 4]


def test_a_run_that_went_on_keeps_writing_only_what_changes(tmp_path: Path) -> None:
    clients = Clients({})
    clients.train(0, 1.0)
    clients.train(1, 1.0)
    write(tmp_path, clients, 1)
    clients.train(1, 2.0)
    write(tmp_path, clients, 2)
    assert json.loads((tmp_path / "checkpoint/round-00002.json").read_text())["clients"]["0"]["file"] == (
        "round-00001-clients-0.safetensors"
    )


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "manifest"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage: str, tmp_path: Path) -> None:
    clients, checkpoints = Clients({}), Checkpoints(tmp_path)
    for number in (1, 2):
        clients.train(0, number)
        checkpoints.write(number, 0.0, state(number), clients)
    path = tmp_path / "checkpoint" / f"round-00002{'.json' if damage == 'manifest' else '-clients-0.safetensors'}"
    data = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(data[: len(data) // 2] + (bytes([data[len(data) // 2] ^ 1]) * (damage == "flip")))
    found = read(tmp_path)
    assert found is not None
    assert found.round == 1
    assert float(found.memories[0]["head.weight"][0]) == 1.0
    for old in (tmp_path / "checkpoint").glob("round-00001*"):
        old.write_bytes(b"")
    with pytest.raises(UserError, match=r"checkpoints of .* are damaged \(.*round-00002.* start it anew with another"):
        read(tmp_path)


def test_later_ones_are_forgotten(tmp_path: Path) -> None:
    clients, checkpoints = Clients({}), Checkpoints(tmp_path)
    for number in (1, 2):
        checkpoints.write(number, 0.0, state(number), clients)
    forget_after(tmp_path, 1)
    found = read(tmp_path)
    assert found is not None
    assert found.round == 1


def test_when_one_is_due() -> None:
    now = [0.0]
    often = Checkpoints(Path("none"), 3, lambda: now[0])
    assert [often.due(number) for number in range(1, 7)] == [False, False, True, False, False, True]
    assert not any(Checkpoints(Path("none"), 0, lambda: now[0]).due(number) for number in range(1, 7))


def test_unless_told_otherwise_they_cost_little(tmp_path: Path) -> None:
    """Writing takes two seconds by this clock: 3 % of the time is one in 67 seconds."""
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    checkpoints, written = Checkpoints(tmp_path, None, clock), []
    for number in range(1, 400):
        if checkpoints.due(number):
            checkpoints.write(number, now[0], state(number), Clients({}))
            written.append(number)
    assert written[0] == 10
    assert min(later - sooner for sooner, later in itertools.pairwise(written)) >= 30


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("a file")
    with pytest.raises(UserError, match=r"checkpoint in .*checkpoint cannot be written \(.*checkpoint_every=0"):
        write(tmp_path, Clients({}), 1)
