"""The benchmark: its subjects do the same work, its page says what was measured."""

import json
import math
from pathlib import Path

import pytest
import torch
from quickly import mostly_slow

from experiments import benchmark_engines
from experiments.benchmark import bare, report
from experiments.benchmark.child import describe, measure
from experiments.benchmark.distilling import Distilling
from experiments.benchmark.measure import Subject, Timing, run
from experiments.benchmark.workloads import W1, W2, WORKLOADS, Workload, scaled
from fedpers.assembly import build_model
from fedpers.training import Batch
from strategies.parts.exchange import Teacher

TINY = Workload("tiny", "a test", 6, 3, 8, (8, 8, 1), 4, 4, ("model=mlp", "model.hidden=[8]"))

FLAGSHIP = Workload(
    "flagship", "a test", 4, 4, 6, (8, 8, 1), 5, 3, ("model=cnn_small",), ("strategy=fedd2s",), 2, held_out=(2, 3)
)


def test_workloads_are_those_that_peers_were_timed_on(tmp_path: Path) -> None:
    for workload, sizes in ((W1, (10, 2)), (W2, (100, 1))):
        config = workload.config(2, tmp_path / "run", ())
        assert config.num_sampled(workload.num_clients) == sizes[0]
        assert not any(config.evaluates(round) for round in (1, 2))
        shards = scaled(workload, num_clients=2).shards(tmp_path / workload.name)
        model = build_model(config, shards)
        logits = model(shards.client(1).train.inputs[:3])
        assert logits.shape == (3, workload.num_classes)
    assert (
        sum(p.numel() for p in build_model(W1.config(2, tmp_path, ()), W1.shards(tmp_path / "w1")).parameters()) > 2e6
    )


def test_data_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = TINY.shards(tmp_path / "a"), TINY.shards(tmp_path / "b")
    for client in range(TINY.num_clients):
        one, two = first.client(client).train, second.client(client).train
        assert len(one) == TINY.samples
        assert torch.equal(one.inputs, two.inputs)
        assert torch.equal(one.labels, two.labels)


@pytest.mark.parametrize("num_processes", mostly_slow([1, 2], [1]))
def test_bare_loop_ends_every_round(num_processes: int, tmp_path: Path) -> None:
    config = TINY.config(3, tmp_path / "run", ())
    ended = bare.run(TINY, config, TINY.shards(tmp_path / "data"), num_processes, channels_last=True)
    assert len(ended) == 3
    assert ended == sorted(ended)


@pytest.mark.parametrize("num_processes", mostly_slow([1, 2], [1]))
def test_bare_loop_distils_where_the_algorithm_does(num_processes: int, tmp_path: Path) -> None:
    config, shards = FLAGSHIP.config(3, tmp_path / "run", ()), FLAGSHIP.shards(tmp_path / "data")
    assert [len(split) for split in (shards.client(3).train, shards.client(3).val, shards.client(3).test)] == [6, 2, 3]
    assert len(bare.run(FLAGSHIP, config, shards, num_processes, channels_last=True)) == 3


@pytest.mark.parametrize("round", [1, 4])
def test_bare_loop_has_the_loss_of_a_client(round: int, tmp_path: Path) -> None:
    config, shards = FLAGSHIP.config(4, tmp_path / "run", ()), FLAGSHIP.shards(tmp_path / "data")
    model, train, distilling = build_model(config, shards), shards.client(0).train, Distilling.of(config, shards, 4)
    assert distilling is not None
    assert distilling.rows == 4 * FLAGSHIP.samples
    index = torch.tensor([4, 0, 2])
    torch.manual_seed(0)
    loss = distilling.client_loss(round)(model, train.inputs[index], train.labels[index], index)
    torch.manual_seed(0)
    a, cut = distilling.settings, {1: 3, 4: 2}[round]
    head, q = distilling.head(cut), torch.randn(6, 5).softmax(1)
    teacher = Teacher(a.view(0), cut, head, q, a.lambda_ce, a.lambda_kl)
    assert loss.item() == pytest.approx(
        teacher.client_loss(model, Batch(train.inputs[index], train.labels[index], index)).item(), rel=1e-6
    )


@pytest.mark.parametrize("workload", [TINY, None])
@pytest.mark.slow
def test_an_engine_is_timed_and_its_memory_looked_at(workload: Workload | None, tmp_path: Path) -> None:
    subject, timing = Subject("local", ("engine=local",)), Timing()
    run(subject, workload, tmp_path / "data", 3, timing)
    assert len(timing.rounds) == 2
    assert timing.seconds > 0
    assert timing.first[0] > 0
    run(subject, workload, tmp_path / "data", 3, timing, memory=True)
    assert timing.peak > 50e6
    assert len(timing.first) == 1


def test_child_leaves_clients_unscored(tmp_path: Path) -> None:
    task = {"workload": describe(TINY), "data": str(tmp_path / "data"), "rounds": 2, "bare": {}}
    found = measure({**task, "engine": ["engine=local"], "out": str(tmp_path / "run")})
    assert len(found["ended"]) == 2
    assert list((tmp_path / "run" / "metrics").iterdir()) == []
    assert len(found["server"]) == 2
    assert all(seconds > 0 for seconds in found["server"])


def timing(seconds: float) -> Timing:
    server = [0.1 * seconds, 0.3 * seconds, 0.3 * seconds]
    return Timing([seconds, 2 * seconds, 3 * seconds], [1.0, 3.0], 2_000_000_000, server)


def test_page_json_and_figure(tmp_path: Path) -> None:
    found = report.Found(2, 3, 10)
    for name in WORKLOADS:
        for number, subject in enumerate(benchmark_engines.SUBJECTS, start=1):
            found.timings[name, subject.name] = timing(number)
    found.by_clients = {1_000: timing(1.0), 100_000: timing(1.05)}
    found.by_sampled = {25: timing(0.2), 400: timing(3.0)}
    found.startups = {"local, 2 threads": timing(1)}
    files = report.write(
        tmp_path, found, benchmark_engines.TARGETS, benchmark_engines.SHARES, "python -m experiments.benchmark_engines"
    )
    assert [path.name for path in files] == [f"benchmark_engines.{kind}" for kind in ("md", "json", "png", "pdf")]
    page = files[0].read_text()
    assert "| W1 | local, 1 thread / bare loop, 1 process | 4.00 | at most 1 | missed by 3.00 |" in page
    assert "| W2 | flower, simulation / ray, 2 workers | 1.12 | at least 9 | missed by 7.9 |" in page
    assert "| W3 | server: local, 1 thread | 10.0 % | at most 10 % | met |" in page
    assert "| W3 | scoring: local, 1 thread, all clients scored | 20.0 % | at most 10 % | missed by 10.0 % |" in page
    assert "| 100,000 clients, 100 sampled | 2.100 | 1.05 | 2.0 | 2.00 |" in page
    data = json.loads(files[1].read_text())
    assert data["timings"][0] == {
        "workload": "W1",
        "subject": "bare loop, 1 process",
        "rounds": [1, 2, 3],
        "first": [1, 3],
        "peak": 2_000_000_000,
        "server": [0.1, 0.3, 0.3],
    }


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.5, "met"), (1.499, "met"), (1.6, "missed by 0.10"), (math.inf, "missed by inf")]
)
def test_targets(ratio: float, verdict: str) -> None:
    assert report.Target("W2", "a", "b", at_most=1.5).judge(ratio) == verdict


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("repeat=2", "Did you mean 'repeats'"),
        ("rounds=1", "at least 2"),
        ("clients=10,x", "clients=10,x is not possible"),
    ],
)
def test_mistakes_are_one_line(argument: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark_engines.main([argument]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
