"""Learning rates over rounds, by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from federations import metric_files
from toys import make_task, three_parameters

from fedpers.errors import UserError
from fedpers.learning.recipe import Recipe
from fedpers.learning.schedules import Cosine, Schedule, Step
from fedpers.results import Run
from strategies.fedavg import FedAvg

Federate = Callable[..., Run]

FACTORS: list[tuple[Schedule, list[float]]] = [
    (Schedule(), [1, 1, 1, 1, 1]),
    (Schedule(warmup=3), [0.25, 0.5, 0.75, 1, 1]),
    (Step(every=2, gamma=0.5), [1, 1, 0.5, 0.5, 0.25]),
    (Step(warmup=1, every=2, gamma=0.1), [0.5, 1, 1, 0.1, 0.1]),
    (Cosine(), [1, 0.904508, 0.654508, 0.345492, 0.095492]),
    (Cosine(floor=0.2), [1, 0.923607, 0.723607, 0.476393, 0.276393]),
    (Cosine(warmup=1), [0.5, 1, 0.853553, 0.5, 0.146447]),
]


@pytest.mark.parametrize(("schedule", "factors"), FACTORS, ids=str)
def test_factors_by_hand(schedule: Schedule, factors: list[float]) -> None:
    assert [schedule.factor(round, 5) for round in range(1, 6)] == pytest.approx(factors, abs=1e-6)


def test_a_step_is_as_long_as_the_factor_says() -> None:
    moved = []
    for round in (1, 3):
        task = make_task(three_parameters(1.0), FedAvg(), [[1.0]], [0], round=round, rounds=5)
        task.__dict__["recipe"] = Recipe(schedule=Step(every=2, gamma=0.25))
        before = task.model.state_dict()["head.weight"].clone()
        task.fit()
        moved.append(task.model.state_dict()["head.weight"] - before)
        assert task.lr == (1.0 if round == 1 else 0.25)
    assert torch.allclose(moved[1], 0.25 * moved[0])


def test_what_falls_over_all_rounds_does_not_go_on_to_more(cli) -> None:  # type: ignore[no-untyped-def]
    small = ["dataset=digits", "partition=iid", "partition.num_clients=3", "strategy=fedavg", "quiet=true"]
    for name, code in (("cosine", 2), ("step", 0)):
        assert cli(*small, f"schedule={name}", "rounds=2", f"out={name}")[0] == 0
        found, _, err = cli(f"resume={name}", "rounds=3")
        assert found == code
        assert ("rounds was 2 and is 3, and schedule=cosine depends on how many there are" in err) == (code == 2)


def test_runs_differ_by_it(federate: Federate) -> None:
    files = [metric_files(federate("strategy=fedavg", f"schedule={name}")) for name in ("constant", "cosine", "warmup")]
    assert files[0]["round-00001.parquet"] == files[1]["round-00001.parquet"]
    assert files[0]["round-00002.parquet"] != files[1]["round-00002.parquet"]
    assert files[0]["round-00001.parquet"] != files[2]["round-00001.parquet"]


@pytest.mark.parametrize(
    ("kind", "values", "key"),
    [
        (Schedule, {"warmup": -1}, "warmup"),
        (Step, {"every": 0}, "every"),
        (Step, {"gamma": 0.0}, "gamma"),
        (Step, {"gamma": 1.5}, "gamma"),
        (Cosine, {"floor": -0.1}, "floor"),
        (Cosine, {"floor": 1.1}, "floor"),
    ],
)
def test_mistakes_are_named(kind: Any, values: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=rf"schedule\.{key}={values[key]} is not possible. Accepted: "):
        kind(**values)
