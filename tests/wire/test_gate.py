"""Updates that are broken: the client's failure, named, and nobody else's."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from federations import metric_files, serve
from quickly import mostly_slow

from fedpers.errors import FederationError
from fedpers.results import Run

Federate = Callable[..., Run]

PER = ("plugins=[toys]", "strategy=fedper", "strategy._target_=toys.BrokenFedPer")
D2S = ("plugins=[toys]", "strategy=fedd2s", "strategy._target_=toys.BrokenFedD2S", "strategy.dropping_interval=2")


def only_fault(run: Run) -> str:
    """Return why a client failed, if that was client 2 in round 2 and nobody else."""
    errors = run.traffic[run.traffic.kind == "error"]
    assert [(row.round, row.client) for row in errors.itertuples()] == [(2, 2)]
    return str(errors.error.iloc[0])


FEDPER = {
    "no number": "its 'fc1.1.weight' holds values that are no finite numbers; where training diverges, a smaller lr",
    "infinity": "its 'fc1.1.weight' holds values that are no finite numbers; where training diverges, a smaller lr",
    "missing": "its update lacks 'fc1.1.weight', unlike other clients'",
    "extra": "its update has 'no.such', which the model has not",
    "undeclared": "its update has 'secrets/fc1.1.weight', and its algorithm declares weights alone",
    "flat": "its 'fc1.1.weight' is float32 of shape (1), the model's float32 of shape",
    "int8": "its 'fc1.1.weight' is int8 of shape",
    "exit": "RuntimeError: the client called sys.exit('enough')",
}


@pytest.mark.parametrize("how", FEDPER)
def test_a_broken_update_costs_what_a_client_that_raises_does(how: str, federate: Federate) -> None:
    """Nobody's bits change, and what the client has learnt in that round is forgotten on its side, too."""
    found = federate(*PER, f"+strategy.how={how}")
    assert metric_files(found) == metric_files(federate(*PER, "+strategy.how=raise"))
    assert only_fault(found).startswith(FEDPER[how])


FEDD2S = {
    "no number": "holds values that are no finite numbers",
    "missing": "its update lacks 'representations/h'",
    "flat": "its 'representations/h' is float32 of shape (1), other clients' float32 of shape (any, 6)",
    "int8": "its 'representations/h' is int8 of shape (18, 6), other clients' float32 of shape (any, 6)",
    "rows": "its knowledge has ",
    "classes": "its 'soft_labels/p' is float32 of shape (18, 9), other clients' float32 of shape (any, 10)",
    "label": "its labels reach 10",
    "negative": "its 'labels/count' holds negative numbers",
}


@pytest.mark.parametrize("how", mostly_slow(FEDD2S, ["no number", "label"]))
def test_so_does_broken_knowledge(how: str, federate: Federate) -> None:
    share = ("strategy.share=knowledge",)
    found = federate(*D2S, *share, f"+strategy.how={how}")
    assert metric_files(found) == metric_files(federate(*D2S, *share, "+strategy.how=raise"))
    assert FEDD2S[how] in only_fault(found)


@pytest.mark.parametrize("strategy", mostly_slow(["fedavg", "flower_fedavgm", "flower_krum"], ["flower_fedavgm"]))
def test_the_gate_stands_before_every_server_half(strategy: str, config, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Before Flower's own strategies, too, whose clients are FedAvg's."""
    from toys import breakage

    from fedpers.algorithm import Algorithm, Task, Update

    plain = Algorithm.train

    def run(how: str) -> Run:
        def train(self: Algorithm, task: Task) -> Update:
            update = plain(self, task)
            if (task.round, task.client) == (2, 2):
                if how == "raise":
                    raise RuntimeError("the battery is empty")
                return Update(breakage(how, update.send), update.keep, update.metrics)
            return update

        monkeypatch.setattr(Algorithm, "train", train)
        return serve(config(f"strategy={strategy}", f"out={tmp_path / how}"))

    broken = run("no number")
    assert metric_files(broken) == metric_files(run("raise"))
    assert "no finite numbers" in only_fault(broken)


def test_a_round_of_nothing_but_broken_updates_ends_the_run(federate: Federate) -> None:
    with pytest.raises(FederationError, match=r"all 4 clients failed in round 2. The first: its 'fc1.*a smaller lr"):
        federate(*PER, "+strategy.client=-1")


def test_an_update_beyond_the_largest_norm_is_a_failure(federate: Federate) -> None:
    huge = (*PER, "+strategy.how=huge")
    found = federate(*huge, "max_update_norm=1000")
    assert metric_files(found) == metric_files(federate(*PER, "+strategy.how=raise"))
    assert "beyond max_update_norm=1000" in only_fault(found)
    let_in = federate(*huge)
    assert not (let_in.traffic.kind == "error").any()
    none = federate("strategy=fedper", "max_update_norm=1000")
    assert metric_files(none) == metric_files(federate("strategy=fedper"))


def test_what_only_half_of_the_clients_send_is_nobodys_fault(federate: Federate) -> None:
    """Two of four lack a tensor: nobody can tell who is right."""
    with pytest.raises(FederationError, match=r"clients 0 and 1 sent different tensors \(names\)"):
        federate("plugins=[toys]", "strategy=fedavg", "strategy._target_=toys.Halves")


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    yield
    import ray

    ray.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["no number", "exit"])
def test_on_ray(how: str, config, federate: Federate, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    workers = ("engine=ray", "engine.num_workers=2", "engine.resources.num_cpus=0.5", f"out={tmp_path / 'ray'}")
    found = serve(config(*workers, *PER, f"+strategy.how={how}"))
    assert metric_files(found) == metric_files(federate(*PER, "+strategy.how=raise"))
    assert only_fault(found).startswith(FEDPER[how])
