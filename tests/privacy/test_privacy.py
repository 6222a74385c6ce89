"""Differential privacy: no update is longer than the norm, the noise is as wide as it says, the budget adds up."""

from collections.abc import Callable

import pytest
import torch
from dp_accounting import dp_event, rdp
from dp_accounting.privacy_accountant import NeighboringRelation
from federations import chosen, metric_files, record
from noisy import MEANS, privacy, stream
from quickly import mostly_slow
from toys import make_task, three_parameters

from fedpers.algorithm import kind_of
from fedpers.assembly import build_algorithm
from fedpers.config.compose import compose_config, group_choices
from fedpers.errors import UserError
from fedpers.privacy import Central, Local, Privacy
from fedpers.privacy.accounting import Accountant
from fedpers.progress import remarks
from fedpers.results import Run
from fedpers.wire import records
from strategies.fedavg import FedAvg

Federate = Callable[..., Run]


def test_updates_are_clipped_as_a_whole_by_hand() -> None:
    start = {"a": torch.tensor([1.0]), "b": torch.tensor([[1.0, 1.0]])}
    sent = {"a": torch.tensor([3.0]), "b": torch.tensor([[2.0, 3.0]])}  # moved by (2, 1, 2): norm 3
    found = privacy("central", clip=1.5).clipped(sent, start)
    assert found["a"].tolist() == [2.0]
    assert found["b"].tolist() == [[1.5, 2.0]]
    same = privacy("central", clip=3.1).clipped(sent, start)
    assert all(torch.equal(same[key], sent[key]) for key in sent)


def test_central_noise_is_around_the_plain_mean_of_clipped_updates() -> None:
    start, size = {"w": torch.ones(20000)}, 20000**0.5
    sent = [{"w": torch.ones(20000) + 3 / size}, {"w": torch.ones(20000) - 0.5 / size}]  # norms 3 and 0.5
    found = privacy("central", clip=1, noise=0.2).at_server(sent, start, stream())
    assert found is not None
    assert found["w"].std().item() == pytest.approx(0.2 * 1 / 2, rel=0.03)
    assert found["w"].mean().item() == pytest.approx(1 + 0.25 / size, abs=0.003)
    assert privacy("local").at_server(sent, start, stream()) is None


def test_local_noise_is_each_clients_own() -> None:
    task = make_task(three_parameters(), FedAvg(), [[1.0]], [0], received={"w": torch.full((20000,), 5.0)})
    mechanism = privacy("local", clip=2, noise=0.1)
    found = mechanism.at_client(task, {"w": torch.full((20000,), 5.0)})["w"]
    assert found.mean().item() == pytest.approx(5, abs=0.01)
    assert found.std().item() == pytest.approx(0.2, rel=0.03)
    sent = {"w": torch.ones(3)}
    assert privacy("central").at_client(task, sent) is sent


def test_without_noise_to_speak_of_it_is_norm_clipping(federate: Federate) -> None:
    private = federate("strategy=fedavg", "privacy=central", "privacy.noise=1e-9", "privacy.clip=0.5")
    clipped = federate("strategy=fedavg", "aggregation=norm_clipping", "aggregation.norm=0.5")  # of equal clients
    assert private.scores.loss.to_numpy() == pytest.approx(clipped.scores.loss.to_numpy(), abs=1e-4)


def test_what_leaves_a_client_is_as_it_says(federate: Federate) -> None:
    recorder, _ = record(federate, "strategy=fedper", "privacy=local", "privacy.clip=0.001", "privacy.noise=1e-6")
    for message, reply in zip(recorder.sent, recorder.replies, strict=True):
        before, after = (records.view_arrays(each.content) for each in (message, reply))
        moved = sum(float((after[key] - before[key]).double().square().sum()) for key in after) ** 0.5
        assert moved == pytest.approx(0.001, rel=0.02)


@pytest.mark.parametrize("name", ["central", "local"])
def test_it_is_seeded_and_the_same_after_a_resume(name: str, federate: Federate, cli) -> None:  # type: ignore[no-untyped-def]
    words = ("strategy=fedper", f"privacy={name}", "privacy.noise=0.05")
    assert metric_files(federate(*words)) == metric_files(federate(*words, "engine.num_threads=2"))
    assert metric_files(federate(*words)) != metric_files(federate(*words, "seed=1"))


def epsilon(mechanism: Privacy, rounds: int, num_clients: int = 10, num_sampled: int = 10) -> float:
    return Accountant(mechanism, num_clients, num_sampled, lambda round: [round % 2]).epsilon(rounds)


def test_the_budget_is_that_of_gaussian_noise() -> None:
    """All clients in each round: t Gaussian mechanisms of sensitivity 2 C, locally those that a client took part in."""
    for mechanism, count in ((privacy("central", noise=3), 6), (privacy("local", noise=3), 3)):
        accountant = rdp.RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
        accountant.compose(dp_event.GaussianDpEvent(1.5), count)
        assert epsilon(mechanism, 6) == accountant.get_epsilon(1e-5)


def test_the_budget_grows_with_rounds_and_shrinks_with_noise_and_sampling() -> None:
    one, ten = (epsilon(privacy("central", noise=2), rounds) for rounds in (1, 10))
    assert one < ten < 10 * one
    assert epsilon(privacy("central", noise=4), 10) < ten
    assert epsilon(privacy("central", noise=20), 10, 1000, 10) < epsilon(privacy("central", noise=20), 10, 1000, 1000)


def test_it_is_reported_each_round(federate: Federate) -> None:
    run = federate("strategy=fedavg", "privacy=central", "privacy.noise=2", "privacy.delta=0.001")
    values = run.diagnostics[run.diagnostics.name == "privacy/epsilon"]
    assert values["round"].to_list() == [1, 2, 3]
    assert values.value.is_monotonic_increasing
    assert run.summary["privacy"] == {"epsilon": values.value.iloc[-1], "delta": 0.001}
    (line,) = remarks(run.summary)
    assert line.startswith("Differential privacy of every client's data: epsilon ")


SERVED = [name for name in sorted(group_choices("strategy")) if build_algorithm(compose_config(chosen(name))).blurs]


@pytest.mark.parametrize("name", ["central", "local"])
def test_fedd2s_that_shares_weights_alone(name: str, federate: Federate) -> None:
    words = ["strategy=fedd2s", "strategy.share=weights", "strategy.vote=0.0", "strategy.dropping_interval=1"]
    recorder, run = record(federate, *words, f"privacy={name}", "privacy.noise=0.01")
    assert run.summary["num_failures"] == 0
    assert {kind_of(key) for reply in recorder.replies for key in records.view_arrays(reply.content)} == {"weights"}


@pytest.mark.parametrize("strategy", mostly_slow(SERVED, ["fedper", "fedproto"]))
def test_every_strategy_that_it_covers(strategy: str, federate: Federate) -> None:
    covered = build_algorithm(compose_config(chosen(strategy))).blurs
    runs = [federate(*chosen(strategy), f"privacy={name}", "privacy.noise=0.01") for name in covered]
    assert {run.summary["num_failures"] for run in runs} == {0}
    files = [metric_files(run) for run in runs]
    assert all(files.count(each) == 1 for each in files)


REFUSED = {
    "fedd2s": (
        ["strategy=fedd2s"],
        "all that strategy=fedd2s sends (representations, soft_labels, ",
    ),
    "class means": ([*MEANS, "strategy.trim=0.1"], "does not cover all that strategy=fedd2s sends (representations, "),
    "fd": (["strategy=fd"], "does not cover all that strategy=fd sends (soft_labels, labels)"),
    "local": (["strategy=local"], "does not cover all that strategy=local sends"),
    "flower": (["strategy=flower_fedavgm"], "does not cover all that strategy=flower_fedavgm sends"),
    "fedkd": (["strategy=fedkd"], "does not cover all that strategy=fedkd sends (weights)"),
    "median": (["strategy=fedavg", "aggregation=median"], "with aggregation=median is not possible"),
    "norm": (["strategy=fedavg", "model.norm=batch"], "is not possible with "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_does_not_cover_is_refused(case: str, federate: Federate) -> None:
    words, message = REFUSED[case]
    model = ["model=resnet18"] if case == "norm" else []
    with pytest.raises(UserError) as found:
        federate(*model, "privacy=central", *words)
    assert str(found.value).startswith("privacy=central ")
    assert message in str(found.value)


@pytest.mark.parametrize(("key", "value"), [("clip", 0), ("noise", 0), ("delta", 0), ("delta", 1)])
@pytest.mark.parametrize("name", ["central", "local"])
def test_impossible_values_are_named(name: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"privacy\.{key}={float(value)} is not possible. Accepted: "):
        privacy(name, **{key: value})


def test_there_are_two() -> None:
    assert isinstance(privacy("central"), Central)
    assert isinstance(privacy("local"), Local)
