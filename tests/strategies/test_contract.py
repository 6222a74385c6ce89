"""One contract for every algorithm: whatever has a YAML file in configs/strategy is run through the same checks."""

import dataclasses
import re
from collections.abc import Iterable

import pytest
import torch
from conftest import chosen, metric_files
from flwr.app import Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedpers import client_app, records
from fedpers.build import build, resolve
from fedpers.client import Client, Task, Update
from fedpers.compose import group_choices
from fedpers.config import Config
from fedpers.engines.local import LocalGrid
from fedpers.ledger import Ledger

CHOICES = group_choices("strategy")
every_strategy = pytest.mark.parametrize("name", CHOICES)


class Recorder(Ledger):
    """Remembers all messages and replies of the training phase."""

    def __init__(self, grid: LocalGrid, num_clients: int = 4) -> None:
        super().__init__(grid, {number: number + 1 for number in range(num_clients)})
        self.local = grid
        self.sent: list[Message] = []
        self.replies: list[Message] = []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        sent = list(messages)
        replies = super().send_and_receive(sent, timeout=timeout)
        if sent and sent[0].metadata.message_type == "train":
            self.sent += sent
            self.replies += replies
        return replies


def record(federate, *overrides: str) -> tuple[Recorder, object]:
    recorders: list[Recorder] = []

    def wrap(grid: Grid) -> Grid:
        recorders.append(Recorder(grid))  # type: ignore[arg-type]
        return recorders[0]

    run = federate(*overrides, wrap=wrap)
    return recorders[0], run


@every_strategy
def test_yaml_is_the_schema(name: str, config) -> None:
    lines = CHOICES[name].read_text().splitlines()
    assert re.match(rf"# python -m fedpers\.run .*strategy={name}\b", lines[0])
    spec = config(f"strategy={name}").strategy
    algorithm = build(spec, "strategy")
    assert isinstance(algorithm, Client)
    assert dataclasses.is_dataclass(algorithm)
    with pytest.raises(dataclasses.FrozenInstanceError):
        algorithm.anything = 1
    fields = {field.name for field in dataclasses.fields(algorithm)}
    assert fields == set(spec) - {"_target_"}
    documented = {match[1] for line in lines if (match := re.match(r"(\w+): .*# .+", line))}
    assert documented == fields
    module = resolve(spec["_target_"], "strategy").__module__
    assert re.search(r"https://|trains alone", __import__(module, fromlist=["x"]).__doc__ or "")


@every_strategy
def test_every_client_is_scored_after_every_round(name: str, federate) -> None:
    run = federate(*chosen(name), "participation=0.5", "finetune_epochs=1")
    table = run.scores
    for model in {"personal", "finetuned"} | set(table.model):
        for split in ("val", "test"):
            rows = table[(table.model == model) & (table.split == split)]
            assert list(zip(rows["round"], rows.client, strict=True)) == [(r, c) for r in (1, 2, 3) for c in range(4)]
    assert table.groupby("round").apply(lambda t: t[t.sampled].client.nunique()).tolist() == [2, 2, 2]
    assert table.accuracy.between(0, 1).all()
    assert table.loss.gt(0).all()
    assert run.summary["last"]["test"]["personal"]["num_clients"] == 4


@every_strategy
def test_same_seed_same_bits_whatever_the_threads(name: str, federate) -> None:
    choice = [*chosen(name), "participation=0.5", "finetune_epochs=1"]
    first = metric_files(federate(*choice, "engine.num_threads=1"))
    assert list(first) == [f"round-{number:05d}.parquet" for number in (1, 2, 3)]
    assert metric_files(federate(*choice, "engine.num_threads=2")) == first
    assert metric_files(federate(*choice, "engine.num_threads=1", "seed=1")) != first


@every_strategy
def test_personal_keys_never_leave_their_client(name: str, federate, config) -> None:
    recorder, _ = record(federate, *chosen(name))
    algorithm = build(config(f"strategy={name}").strategy, "strategy")
    assert len(recorder.replies) == 12
    for reply in recorder.replies:
        assert len(reply.content.array_records) == 1
        for key in reply.content.array_records[records.ARRAYS]:
            assert "/" in key or not algorithm.is_personal(key)


Memory = dict[tuple[int, int], dict[str, torch.Tensor]]


def watch_memory(monkeypatch, algorithm: type[Client], fails: tuple[int, int] | None = None) -> tuple[Memory, Memory]:
    """Return what every (client, round) was given as state and what it kept; one of them may fail at its end."""
    given: Memory = {}
    kept: Memory = {}
    original = algorithm.train

    def train(self: Client, task: Task) -> Update:
        given[task.client, task.round] = {key: value.clone() for key, value in task.state.items()}
        update = original(self, task)
        if (task.client, task.round) == fails:
            raise RuntimeError("the battery is empty")
        kept[task.client, task.round] = {key: value.clone() for key, value in update.keep.items()}
        return update

    monkeypatch.setattr(algorithm, "train", train)
    return given, kept


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@every_strategy
def test_memory_is_what_the_client_kept(name: str, federate, config, monkeypatch) -> None:
    algorithm = type(build(config(f"strategy={name}").strategy, "strategy"))
    given, kept = watch_memory(monkeypatch, algorithm)
    federate(*chosen(name))
    assert len(given) == 12
    for client in range(4):
        assert given[client, 1] == {}
        assert same(given[client, 2], kept[client, 1])
        assert same(given[client, 3], kept[client, 2])


@every_strategy
def test_a_failure_costs_one_client_one_round(name: str, federate, config, monkeypatch) -> None:
    """Client 1 fails in round 2 after it has trained: its memory stays as it was, and round 3 is whole."""
    algorithm = type(build(config(f"strategy={name}").strategy, "strategy"))
    given, kept = watch_memory(monkeypatch, algorithm, fails=(1, 2))
    run = federate(*chosen(name))
    assert same(given[1, 3], kept[1, 1])
    assert same(given[0, 3], kept[0, 2])
    errors = run.traffic[run.traffic.kind == "error"]
    assert errors[["round", "phase", "client", "error"]].values.tolist() == [
        [2, "train", 1, "RuntimeError: the battery is empty"]
    ]
    lost = run.scores[(run.scores["round"] == 2) & (run.scores.client == 1)]
    assert len(lost)
    assert not lost.sampled.any()
    assert run.scores[run.scores["round"] == 3].sampled.all()


@every_strategy
def test_unseen_clients_are_served_and_never_train(name: str, federate) -> None:
    run = federate(*chosen(name), "unseen=0.25", "rounds=2")
    (unseen,) = sorted(run.unseen)
    rows = run.scores[(run.scores.client == unseen) & (run.scores.model == "personal")]
    assert len(rows) == 4  # 2 rounds, validation and test
    assert not rows.sampled.any()
    assert rows.loss.notna().all()
    trained = run.traffic[(run.traffic.phase == "train") & (run.traffic.direction == "up")]
    assert set(trained.client) == {0, 1, 2, 3} - {unseen}
    assert run.summary["unseen"]["test"]["personal"]["num_clients"] == 1


@every_strategy
def test_server_half_is_a_flower_strategy(name: str, config) -> None:
    from fedpers.federation import Federation

    settings: Config = config(f"strategy={name}")
    _, shards = client_app.open_run(settings.to_json())
    federation = Federation(
        config=settings,
        nodes={0: 1},
        num_classes=10,
        shape=shards.shape,
        model=lambda: client_app.build_model(settings, shards),
        initial={},
    )
    assert isinstance(build(settings.strategy, "strategy").server(federation), Strategy)


@pytest.mark.parametrize("policy", ["aggregate", "local", "reset"])
@every_strategy
def test_batch_norm_policy_is_honoured(name: str, policy: str, federate) -> None:
    """Running statistics leave a client under `aggregate` only, where the algorithm shares them."""
    recorder, run = record(
        federate,
        *chosen(name),
        f"batch_norm={policy}",
        "model=resnet18",
        "model.norm=batch",
        "model.width=4",
        "rounds=1",
        "partition.max_samples=60",
    )
    keys = {key for reply in recorder.replies for key in reply.content.array_records[records.ARRAYS]}
    statistics = {key for key in keys if "running_" in key}
    if policy != "aggregate":
        assert not statistics
    elif name == "fedavg":
        assert "stem.1.running_mean" in statistics
    norm_weights = {key for key in keys if key == "stem.1.weight"}
    if name == "fedavg":
        assert bool(norm_weights) == (policy != "local")
    assert run.scores.loss.notna().all()
