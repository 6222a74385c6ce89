"""The simulator from Python: the command line's numbers, rounds to look at, objects in the place of names."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from federations import TINY, tables
from toys import Failing

import fedpers
from fedpers import given
from fedpers.algorithm import Algorithm, Task, Update
from fedpers.config.compose import compose_config
from fedpers.data.images import Images
from fedpers.data.partitions.base import Iid
from fedpers.errors import UserError
from fedpers.models.staged import Staged
from strategies.fedper import FedPer

Simulate = Any


@pytest.fixture
def simulate(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Run a small federation from Python in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPERS_CACHE", str(cache))

    def run(*words: str, **values: Any) -> fedpers.Run:
        return fedpers.simulate(*small(values), *words, progress=False, **values)

    return run


def small(values: dict[str, Any]) -> list[str]:
    return [text for text in TINY if text.partition("=")[0].partition(".")[0] not in values]


def test_it_gives_what_the_command_line_gives(simulate: Simulate, cli) -> None:
    assert cli(*TINY, "strategy=fedper", "rounds=2", "out=there")[0] == 0
    run = simulate(strategy="fedper", rounds=2, out="here")
    assert tables(run.folder) == tables("there")
    assert run.identity == fedpers.Run("there").identity
    assert simulate(strategy=FedPer(personal=("head",)), rounds=2).identity == run.identity


def test_figures_are_drawn(simulate: Simulate) -> None:
    run = simulate(rounds=1, figures=["plots.convergence.draw"])
    assert (run.folder / "figures/convergence.png").is_file()


def test_two_that_start_in_one_second_have_folders_of_their_own(simulate: Simulate) -> None:
    first, second = (simulate(rounds=1) for _ in range(2))
    assert first.folder != second.folder


def test_a_run_that_is_stepped_through_is_one_that_is_not(simulate: Simulate) -> None:
    whole = simulate(rounds=4, out="whole")
    steps = fedpers.Simulation(*small({"rounds": 4}), rounds=4, out="steps")
    for step in steps:
        if step.number == 2:
            break
    assert [step.number for step in steps] == [3, 4]
    assert list(steps) == []
    assert tables(steps.run().folder) == tables(whole.folder)


def test_rounds_show_what_is_sent_and_kept(simulate: Simulate) -> None:
    words = [text for text in TINY if not text.startswith("rounds")]
    before: dict[str, torch.Tensor] = {}
    for step in fedpers.Simulation(*words, "participation=0.5", strategy="fedper", rounds=2, out="steps"):
        assert len(step.sent) == 2
        for client, sent in step.sent.items():
            assert not any(key.startswith("head") for key in sent)
            assert sorted(step.memory(client)) == ["head.bias", "head.weight"]
            received = step.received(client)
            assert received.keys() == sent.keys()
            assert not any(torch.equal(received[key], sent[key]) for key in sent)
            assert all(torch.equal(received[key], before.get(key, received[key])) for key in received)
        before = {key: tensor.clone() for key, tensor in step.state.shared.items()}
        rows = step.scores[(step.scores.metric == "accuracy") & (step.scores.split == "test")]
        assert step.accuracy == pytest.approx(rows.value.mean())
        assert set(step.diagnostics) >= set(step.sent)
    assert step.memory(0) or step.memory(1) or step.memory(2) or step.memory(3)


def test_who_has_not_trained_remembers_nothing(simulate: Simulate) -> None:
    words = [text for text in TINY if not text.startswith("rounds")]
    (step,) = fedpers.Simulation(*words, "participation=0.25", strategy="fedper", rounds=1)
    (trained,) = step.sent
    assert [client for client in range(4) if step.memory(client)] == [trained]


def test_its_accuracy_is_the_headlines(simulate: Simulate) -> None:
    words = [*small({"rounds": 1}), "unseen=0.25", "attack=label_flip", "attack.share=0.3", "strategy=fedavg"]
    simulation = fedpers.Simulation(*words, rounds=1)
    (step,) = simulation
    assert step.accuracy == pytest.approx(simulation.results.summary["last"]["test"]["personal"]["mean"])
    assert len(step.scores.client.unique()) == 4


def test_a_sweep_is_for_the_command_line(simulate: Simulate, cli) -> None:
    assert cli("--multirun", *TINY[:-1], "rounds=1", "seed=0,1", "out=sweep", "quiet=true")[0] == 0
    with pytest.raises(UserError, match="resume=FOLDER of a sweep is for the command line"):
        fedpers.simulate("resume=sweep", progress=False)


def test_flowers_own_strategies_keep_their_state_to_themselves(simulate: Simulate) -> None:
    (step,) = fedpers.Simulation(*small({"rounds": 1}), strategy="flower_fedavgm", rounds=1)
    assert step.accuracy is not None
    with pytest.raises(UserError, match="one of Flower's own"):
        _ = step.state


def test_the_program_is_left_as_it_was(simulate: Simulate) -> None:
    torch.set_num_threads(2)
    simulate(rounds=1)
    list(fedpers.Simulation(*small({"rounds": 1}), rounds=1))
    assert torch.get_num_threads() == 2


def test_a_federation_that_cannot_go_on_says_so(simulate: Simulate) -> None:
    with pytest.raises(fedpers.FederationError, match="all 4 clients failed in round 1"):
        simulate(strategy=Failing(round=1, client=-1))


def local_class() -> type[Algorithm]:
    @dataclass(frozen=True)
    class Mine(Algorithm):
        share: float = 0.5

        def train(self, task: Task) -> Update:
            loss = task.fit()
            start = task.initial | task.received
            sent = {key: start[key] + self.share * (new - start[key]) for key, new in task.shared().items()}
            return Update(send=sent, keep={}, metrics={"loss": loss})

    return Mine


def test_a_class_that_no_module_has_works_on_every_engine(simulate: Simulate) -> None:
    mine = local_class()
    run = simulate(strategy=mine(), rounds=2, out="local")
    assert run.label == "Mine"
    assert tables(run.folder) != tables(simulate(strategy="fedavg", rounds=2).folder)
    assert tables(run.folder) != tables(simulate(strategy=mine(share=0.25), rounds=2).folder)  # type: ignore[call-arg]
    with pytest.raises(UserError, match="engine=flower cannot be given Mine_"):
        simulate("engine=flower", strategy=mine())


@pytest.mark.slow
def test_ray_is_sent_what_no_module_has(simulate: Simulate) -> None:
    mine = local_class()
    workers = ("engine=ray", "engine.num_workers=2", "engine.resources.num_cpus=0.5")
    values: dict[str, Any] = {"strategy": mine(), "metrics": ["accuracy", sureness], "rounds": 2}
    assert tables(simulate(*workers, **values).folder) == tables(simulate(**values).folder)


def sureness(labels: torch.Tensor, logits: torch.Tensor) -> float:
    return float(logits.softmax(1).amax(1).mean())


def test_a_cell_that_has_not_changed_gives_the_same_run(simulate: Simulate) -> None:
    first, second = (simulate(strategy=local_class()(), rounds=1) for _ in range(2))
    assert first.identity == second.identity
    other = simulate(strategy=local_class()(share=0.25), rounds=1)  # type: ignore[call-arg]
    assert other.identity != first.identity


def test_it_goes_on_where_the_object_is_given_again(simulate: Simulate, cli) -> None:
    whole = simulate(strategy=local_class()(), rounds=3, out="whole")
    simulate(strategy=local_class()(), rounds=2, out="part")
    given._known.clear()  # as another process
    code, _, err = cli("resume=part", "rounds=3")
    assert code == 2
    assert "was an object of a Python program, which this process has not been given" in err
    part = fedpers.simulate("resume=part", rounds=3, strategy=local_class()(), progress=False)
    assert tables(part.folder) == tables(whole.folder)


def test_one_of_ones_own_modules_goes_on_from_a_terminal(simulate: Simulate, cli, tmp_path: Path) -> None:
    (tmp_path / "own_lab.py").write_text(
        "from dataclasses import dataclass\nfrom fedpers.algorithm import Algorithm\n\n"
        "@dataclass(frozen=True)\nclass Own(Algorithm):\n    share: float\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import own_lab  # type: ignore[import-not-found]

        run = simulate(strategy=own_lab.Own(share=0.5), rounds=2, out="run")
        assert run.config.strategy == {"_target_": "own_lab.Own", "share": 0.5}
        assert run.config.plugins == ["own_lab"]
        assert cli("resume=run", "rounds=3", "plugins=[own_lab]")[0] == 0
        longer = fedpers.simulate("resume=run", rounds=4, strategy=own_lab.Own(share=0.5), progress=False)
        assert longer.config.rounds == 4
    finally:
        sys.path.remove(str(tmp_path))


def my_images(seed: int = 0) -> Images:
    noise = np.random.default_rng(seed)
    pixels, labels = noise.integers(0, 256, (200, 6, 6, 1), np.uint8), noise.integers(0, 3, 200)
    return Images("noise", pixels, labels, 3, None, None)


def my_model(shape: tuple[int, int, int], num_classes: int) -> Staged:
    body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(shape[1] * shape[2], 5), torch.nn.ReLU())
    return Staged({"body": body, "head": torch.nn.Linear(5, num_classes)})


def test_data_models_partitions_and_metrics_are_objects(simulate: Simulate) -> None:
    even = Iid(num_clients=3, min_samples=10, max_samples=None)
    run = simulate(
        dataset=my_images(), model=my_model, partition=even, strategy="fedavg", metrics=["accuracy", sureness], rounds=1
    )
    assert run.data["dataset"] == "noise"
    assert run.data["num_clients"] == 3
    assert run.metric_names == ["accuracy", "loss", "sureness"]
    assert {key.partition(".")[0] for key in run.model("global", [__name__]).model.state_dict()} == {"body", "head"}


def test_other_data_of_one_name_are_other_data(simulate: Simulate) -> None:
    runs = [simulate("partition.num_clients=3", dataset=my_images(seed), rounds=1) for seed in (0, 1, 0)]
    hashes = [run.data["dataset_sha256"] for run in runs]
    assert hashes[0] == hashes[2] != hashes[1]


MISTAKES: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "number": ([], {"strategy": 3}, "strategy"),
    "object": (
        [],
        {"strategy": object()},
        r"strategy=object is not possible. Accepted: a name, a fedpers.algorithm.Alg",
    ),
    "instance": (
        [],
        {"model": my_images()},
        r"model=Images is not possible. Accepted: a name, a torch\.nn\.modules\.module\.Module",
    ),
    "key": ([], {"rounds": object()}, r"rounds=object is not possible. Objects are accepted for strategy, dataset, "),
    "both": (
        ["strategy.lr=1"],
        {"strategy": FedPer(personal=("head",))},
        r"strategy.lr=1 is not possible beside an obj",
    ),
    "metric": (
        [],
        {"metrics": [lambda labels, logits: 0.0]},
        r"metrics: .* is not possible. Accepted: names, and func",
    ),
    "maker": ([], {"dataset": my_model}, r"dataset\.shape is missing: .*my_model needs it"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named(case: str, simulate: Simulate) -> None:
    words, values, message = MISTAKES[case]
    with pytest.raises(UserError, match=message):
        simulate(*words, **values)
    assert not Path("runs").exists()


def test_what_fedpers_offers() -> None:
    assert set(fedpers.__all__) <= set(dir(fedpers))
    assert all(getattr(fedpers, name) is not None for name in fedpers.__all__)
    with pytest.raises(AttributeError, match="no attribute 'simulated'"):
        _ = fedpers.simulated


def test_plain_values_are_those_of_the_command_line() -> None:
    simulation = fedpers.Simulation(*TINY[:-1], splits=[0.5, 0.25, 0.25], quiet=True, init=None, lr=0.25)
    composed = compose_config([*TINY[:-1], "splits=[0.5,0.25,0.25]", "quiet=true", "init=null", "lr=0.25"])
    assert dataclasses.replace(simulation.config, out=None) == composed
