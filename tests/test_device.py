"""Clients on an accelerator: an emulated one here, a GPU where there is one."""

import importlib
from types import SimpleNamespace

import pytest
import torch
from federations import chosen, metric_files
from quickly import STRATEGIES, mostly_slow

from fedpers import assembly, seeds
from fedpers.config.compose import group_choices
from fedpers.device import CPU, RESIDENT_SHARE, fits, open_device, server_device, to_device, to_host
from fedpers.errors import UserError
from fedpers.results import Run
from fedpers.wire import records
from fedpers.wire.packing import view
from fedpers.worker import Worker
from strategies.parts.exchange import HeadTraining, Knowledge
from strategies.parts.heads import copied_weights, make_head

every_strategy = pytest.mark.parametrize("name", mostly_slow(group_choices("strategy"), STRATEGIES))
gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def pretend():
    return pytest.importorskip(
        "fedpers.emulated", reason="a GPU, or a PyTorch without devices written in Python", exc_type=ImportError
    )


def assert_close(there: Run, here: Run, tolerance: float = 1e-4) -> None:
    """Kernels differ from device to device in the last bits of what they sum."""
    columns = ["round", "client", "model", "split", "num_examples"]
    assert there.scores[columns].equals(here.scores[columns])
    assert (there.scores.loss - here.scores.loss).abs().max() < tolerance
    assert there.scores.loss.nunique() > 4


def test_there_is_no_emulated_device_beside_a_gpu(pretend, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ImportError, match="a GPU is here"):
        importlib.reload(pretend)


def test_pretend_tensors_do_not_mix(pretend) -> None:
    there, here = torch.ones(3).to("pretend"), torch.ones(3)
    assert there.device.type == "pretend"
    assert (there + there).cpu().tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="two devices"):
        there + here


@every_strategy
def test_every_strategy_runs_on_another_device(name: str, federate, pretend) -> None:
    overrides = [*chosen(name), "model=cnn", "rounds=2", "finetune_epochs=1", "participation=0.5"]
    assert_close(federate(*overrides, "device=pretend"), federate(*overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        ["strategy=fedd2s", "strategy.share=knowledge", "model=mixed", "strategy.projection=16"],
        ["strategy=fedd2s", "strategy.knowledge_noise=0.1"],
        ["strategy=fedd2s", "strategy.knowledge=class_means", "strategy.heads=own", "strategy.wire=float16"],
        ["strategy=fedavg", "model=resnet18", "partition.max_samples=40", "batch_norm=reset"],
    ],
    ids=lambda overrides: " ".join(overrides),
)
@pytest.mark.slow
def test_options_run_on_another_device(overrides: list[str], federate, pretend) -> None:
    overrides = [*overrides, "rounds=2"]
    assert_close(federate(*overrides, "device=pretend"), federate(*overrides))


def test_a_server_computes_where_its_clients_do(pretend) -> None:
    generator = torch.Generator().manual_seed(0)
    knowledge = Knowledge(
        torch.randn(40, 6, generator=generator),
        torch.full((40, 3), 1 / 3),
        torch.arange(40) % 3,
        torch.ones(40, dtype=torch.int64),
    )
    found = []
    for device in (server_device("cpu"), server_device("pretend"), server_device("xpu")):
        training = HeadTraining(mu=1.0, temperature=2.0, epochs=2, lr=0.01, batch_size=16, device=device)
        with seeds.seeded_initialization(0, "head"):
            head = make_head(6, 5, 3, norm=True)
        loss = training.fit(head, knowledge, torch.Generator().manual_seed(1))
        assert {parameter.device.type for parameter in head.parameters()} == {device.type}
        q, correct = training.label(head, knowledge)
        weights = copied_weights(head)
        assert {tensor.device for tensor in (q, *weights.values())} == {CPU}
        found.append((loss, correct, q, weights["hidden.weight"]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for a, b in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(found[0][2], found[2][2])  # there is no such device here, so the server stays on the CPU


def test_images_stay_on_the_device_if_they_fit(config, pretend, monkeypatch) -> None:
    settings, shards = assembly.open_run(config("device=pretend").to_json())
    worker = Worker(settings, shards)
    expected = shards.client(1).train
    for free, device in ((2**30, "pretend"), (2**10, "cpu")):
        monkeypatch.setattr(pretend.module, "free", free)
        shards._resident.clear()
        data = shards.client(1, worker.device)
        assert data.pixels.device.type == device
        assert data.train.inputs.device.type == data.train.labels.device.type == "pretend"
        assert torch.equal(data.train.inputs.cpu(), expected.inputs)
        assert torch.equal(data.train.labels.cpu(), expected.labels)


def test_a_small_part_of_the_memory_may_be_taken(pretend, monkeypatch) -> None:
    monkeypatch.setattr(pretend.module, "free", 1000)
    device = torch.device("pretend")
    limit = round(1000 * RESIDENT_SHARE)
    assert fits(limit, device)
    assert not fits(limit + 1, device)


def test_a_reply_waits_once_for_its_copies(pretend, monkeypatch) -> None:
    monkeypatch.setattr(pretend.module, "synchronized", 0)
    state = {name: torch.arange(3.0).to("pretend") for name in "abc"}
    record = records.to_record(state)
    assert [view(record[name]).tolist() for name in "abc"] == [[0, 1, 2]] * 3
    assert pretend.module.synchronized == 1
    records.to_record({"a": torch.ones(2)})
    assert pretend.module.synchronized == 1


def test_on_the_cpu_nothing_is_copied() -> None:
    tensor = torch.ones(3)
    assert to_device(tensor, torch.device("cpu")) is tensor
    assert to_host({"a": tensor})["a"].data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize("name", ["cuda", "gpu", "xpu", "CPU"])
def test_a_device_that_is_not_there(name: str, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=rf"device={name}: .* Accepted: cpu, or an"):
        open_device(name)


def test_a_run_without_its_device_ends_with_a_message(federate) -> None:
    with pytest.raises(UserError, match="device=xpu"):
        federate("device=xpu")


@pytest.mark.parametrize("engine", ["ray", "flower"])
def test_an_engine_must_reserve_the_gpu(engine: str, federate) -> None:
    with pytest.raises(UserError, match=r"device=cuda .* engine\.resources\.num_gpus=0"):
        federate("device=cuda", f"engine={engine}")


def test_repeatable_arithmetic_is_asked_of_a_gpu(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace(is_available=lambda: True))
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda mode, warn_only: asked.append((mode, warn_only)))
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert open_device("cuda").type == "cuda"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert asked == [(True, True)]
    assert not torch.utils.deterministic.fill_uninitialized_memory


@gpu
@needs_gpu
@every_strategy
def test_same_bits_on_a_gpu(name: str, federate) -> None:
    overrides = [*chosen(name), "model=cnn", "rounds=2", "device=cuda"]
    assert metric_files(federate(*overrides)) == metric_files(federate(*overrides))


@gpu
@needs_gpu
def test_workers_share_a_gpu(federate) -> None:
    overrides = ["strategy=fedd2s", "model=cnn", "rounds=2", "device=cuda"]
    shared = ["engine=ray", "engine.num_workers=2", "engine.resources.num_gpus=0.5"]
    assert metric_files(federate(*overrides, *shared)) == metric_files(federate(*overrides, "engine.num_threads=1"))


@gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_gpu_agrees_with_the_cpu(precision: str, federate) -> None:
    overrides = ["strategy=fedavg", "model=cnn", f"precision={precision}"]
    tolerance = 1e-3 if precision == "float32" else 0.05
    assert_close(federate(*overrides, "device=cuda"), federate(*overrides), tolerance)
