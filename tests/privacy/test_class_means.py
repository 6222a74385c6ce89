"""Noise on what clients know of each class: which classes a client has does not show, noise alone teaches nothing."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from by_hand import Half, federation, from_yaml
from federations import record
from noisy import MEANS, privacy, stream
from torch import Tensor

from fedpers.algorithm import Federation, Sent, State
from fedpers.results import Run
from fedpers.wire import records
from strategies.fedd2s.server import HeadServer
from strategies.fedproto import PrototypeServer
from strategies.parts.class_means import Means
from strategies.parts.exchange import Knowledge
from strategies.parts.prototypes import CLASS, COUNT, GLOBAL, MEAN

Federate = Callable[..., Run]


def test_central_noise_is_on_the_mean_of_those_who_hold_a_class_by_hand() -> None:
    """Class 0 is held by both, class 1 by one, class 2 by nobody."""
    first = {"h": torch.tensor([[1.0, 2], [3, 4], [0, 0]]), "p": torch.tensor([[1.0], [0.5], [0]])}
    second = {"h": torch.tensor([[3.0, 4], [0, 0], [0, 0]]), "p": torch.tensor([[0.0], [0], [0]])}
    means, classes = central(clip=100, noise=1e-9, states=[first, second])
    assert classes.tolist() == [0, 1]
    assert torch.allclose(means["h"], torch.tensor([[2.0, 3], [3, 4]]), atol=1e-5)
    assert torch.allclose(means["p"], torch.tensor([[0.5], [0.5]]), atol=1e-5)
    assert privacy("local").by_class([first, second], stream()) is None


def central(clip: float, noise: float, states: list[State], releases: int = 1) -> tuple[State, Tensor]:
    found = privacy("central", clip=clip, noise=noise).by_class(states, stream(), releases)
    assert found is not None
    return found


@pytest.mark.parametrize("releases", [1, 2, 4])
def test_rows_and_the_number_of_holders_are_clipped_as_one(releases: int) -> None:
    """Two clients of norm (3² + 1²)^½ to C / √releases: of the number of holders 2 C / √(10 releases) is left."""
    size = 20000
    state = {"h": torch.full((1, size), 3 / size**0.5)}
    means, _ = central(clip=2, noise=0.01, states=[state, state], releases=releases)
    holders = 2 * 2 / (10 * releases) ** 0.5
    assert means["h"].std().item() == pytest.approx(0.01 * 2 / holders, rel=0.1)
    assert means["h"].mean().item() == pytest.approx(3 / size**0.5, rel=0.1)


def test_classes_of_which_there_is_noise_alone_are_not_known() -> None:
    rows = torch.zeros(1000, 3)
    rows[:100] = 1.0
    _, classes = central(clip=100, noise=0.01, states=[{"h": rows}] * 10)
    assert (classes < 100).sum() == 100
    assert len(classes) < 100 + 0.05 * 900


def test_with_central_noise_heads_learn_from_the_mean_and_label_every_client() -> None:
    half = HeadServer(private("central", clip=100, noise=1e-9), from_yaml("fedd2s", **FEW))  # type: ignore[arg-type]
    sent = {client: knowledge([[float(client), 1.0], [2.0, 0.0]]) for client in (1, 3)}
    received = {client: Knowledge.received(each.tensors) for client, each in sent.items()}
    found, labelled = half.learnable(1, sent, received)
    assert labelled == [1, 3]
    (pool,) = found.values()
    assert torch.allclose(pool.h, torch.tensor([[2.0, 1], [2, 0]]), atol=1e-5)
    assert pool.labels.tolist() == [0, 1]
    assert pool.counts.tolist() == [1, 1]
    assert torch.allclose(pool.p.sum(1), torch.ones(2))
    everything = HeadServer(private("central", clip=1, noise=1000), from_yaml("fedd2s", **FEW))  # type: ignore[arg-type]
    assert len(everything.learnable(1, sent, received)[0]) <= 1


FEW = {"share": "knowledge", "knowledge": "class_means"}


def private(name: str, **changes: object) -> Federation:
    return dataclasses.replace(federation(), privacy=privacy(name, **changes))


def knowledge(h: list[list[float]]) -> Sent:
    rows = torch.tensor(h)
    p, classes = torch.full((len(rows), 2), 0.5), torch.arange(len(rows))
    return Sent(Knowledge(rows, p, classes, torch.ones_like(classes)).wire(), 5)


def test_of_a_class_that_does_not_stand_out_of_central_noise_the_last_mean_stands() -> None:
    half = Half(PrototypeServer(private("central", clip=100, noise=1e-9), MEAN, COUNT))
    half.aggregate(1, {0: answer([[1.0], [0.0]]), 1: answer([[3.0], [0.0]])})
    assert half.state.shared[CLASS].tolist() == [0]
    assert half.state.shared[GLOBAL].flatten().tolist() == pytest.approx([2], abs=1e-5)
    half.aggregate(2, {2: answer([[0.0], [7.0]])})
    assert half.state.shared[GLOBAL].flatten().tolist() == pytest.approx([2, 7], abs=1e-5)
    half.aggregate(3, {2: answer([[5.0], [0.0]])})
    assert half.state.shared[GLOBAL].flatten().tolist() == pytest.approx([5, 7], abs=1e-5)


def answer(rows: list[list[float]]) -> dict[str, Tensor]:
    return {MEAN: torch.tensor(rows), COUNT: torch.ones(len(rows), dtype=torch.long)}


def test_earlier_means_fill_in() -> None:
    now = Means(torch.tensor([[5.0]]), torch.tensor([0, 2, 0]))
    earlier = Means(torch.tensor([[1.0], [2.0]]), torch.tensor([3, 4, 0]))
    found = now.beside(earlier)
    assert found.mean.tolist() == [[1], [5]]
    assert found.count.tolist() == [3, 2, 0]


@pytest.mark.parametrize("share", ["knowledge", "both"])
def test_class_means_under_central_noise(share: str, federate: Federate) -> None:
    """Nothing that a client counts leaves it; without much noise heads learn, with much of it the run goes on."""
    words = [*MEANS, f"strategy.share={share}", "partition=dirichlet", "partition.alpha=0.3", "privacy=central"]
    recorder, run = record(federate, *words, "privacy.clip=10", "privacy.noise=1e-4")
    for reply in recorder.replies:
        sent = records.view_arrays(reply.content)
        assert sent["labels/y"].tolist() == list(range(10))
        assert sent["labels/count"].tolist() == [1] * 10
    assert "head_accuracy" in set(run.diagnostics.name)
    noisy = federate(*words, "privacy.noise=1000")
    assert noisy.summary["num_failures"] == 0
    assert noisy.scores.loss.notna().all()


@pytest.mark.parametrize("share", ["knowledge", "both"])
def test_class_means_say_nothing_of_which_classes_a_client_has(share: str, federate: Federate) -> None:
    """A row for every class, labels and counts alike, noise in every number; without much of it heads learn."""
    words = [*MEANS, f"strategy.share={share}", "partition=dirichlet", "partition.alpha=0.3", "privacy=local"]
    recorder, run = record(federate, *words, "privacy.noise=1e-4")
    for reply in recorder.replies:
        sent = records.view_arrays(reply.content)
        assert sent["labels/y"].tolist() == list(range(10))
        assert sent["labels/count"].tolist() == [1] * 10
        assert (sent["representations/h"] != 0).all()
        assert (sent["soft_labels/p"] != 0).all()
        floats = [tensor for tensor in sent.values() if tensor.is_floating_point()]
        if share == "knowledge":
            assert sum(float(tensor.double().square().sum()) for tensor in floats) ** 0.5 < 1.02
    assert "head_accuracy" in set(run.diagnostics.name)
    assert federate(*words, "privacy.noise=1000").summary["num_failures"] == 0


def test_rows_of_noise_alone_are_not_learnt_from() -> None:
    mechanism = privacy("local", clip=2, noise=0.5)
    half = HeadServer(dataclasses.replace(federation(), privacy=mechanism), from_yaml("fedd2s"))  # type: ignore[arg-type]
    h = torch.randn(2000, 50, generator=stream())
    signal = torch.zeros(2000, 1)
    signal[:200] = 2.0
    part = Knowledge(h + signal, torch.randn(2000, 2, generator=stream()), torch.arange(2000), torch.ones(2000).long())
    found = half.readable(part)
    kept = found.labels < 200
    assert kept.sum() == 200
    assert (~kept).sum() < 0.05 * 1800
    assert torch.allclose(found.p.sum(1), torch.ones(len(found.p)))
    assert (found.p > 0).all()
    plain = HeadServer(federation(), from_yaml("fedd2s")).readable(part)  # type: ignore[arg-type]
    assert plain is part


PROTOTYPES = ["partition=dirichlet", "partition.alpha=0.3", "privacy=local"]


@pytest.mark.parametrize("strategy", ["fedproto", "fedtgp"])
def test_prototypes_say_nothing_of_which_classes_a_client_has(strategy: str, federate: Federate) -> None:
    """A row for every class, counts alike, noise in every number; prototypes where there is less noise than signal."""
    words = [f"strategy={strategy}", *PROTOTYPES]
    recorder, run = record(federate, *words, "privacy.noise=1e-4")
    assert run.summary["num_failures"] == 0
    for reply in recorder.replies:
        sent = records.view_arrays(reply.content)
        assert sent["labels/count"].tolist() == [1] * 10
        assert sent["prototypes/mean"].shape[0] == 10
        assert (sent["prototypes/mean"] != 0).all()
        assert float(sent["prototypes/mean"].double().square().sum()) ** 0.5 < 1.02
    noisy = federate(*words, "privacy.noise=1000")
    assert noisy.summary["num_failures"] == 0
    few, many = (each.summary["bytes"]["down"].get("prototypes", 0) for each in (noisy, run))
    assert few < 0.5 * many  # a row in forty of noise alone is believed


def test_prototypes_of_noise_alone_are_not_put_down() -> None:
    mechanism = privacy("local", clip=1, noise=0.1)
    half = PrototypeServer(dataclasses.replace(federation(), privacy=mechanism), MEAN, COUNT)
    rows = 0.1 * torch.randn(1000, 40, generator=stream())
    rows[:100] += 1
    (known,) = half.put_down(half.init(), 1, {0: Sent({MEAN: rows, COUNT: torch.ones(1000).long()}, 1)}).values()
    believed = known.count > 0
    assert believed[:100].all()
    assert believed[100:].float().mean() < 0.05
    assert torch.equal(known.mean, rows[believed])
