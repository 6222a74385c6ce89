"""The configuration: ranges, JSON, and what follows from its values."""

import dataclasses
import json
from typing import Any

import pytest

from fedpers.config.compose import compose_config
from fedpers.config.identity import identity, targets
from fedpers.config.keys import GROUPS, Config
from fedpers.errors import UserError

NAN, INF = float("nan"), float("inf")


def test_defaults_are_possible_and_have_meanings() -> None:
    config = Config()
    assert config.splits == [0.6, 0.15, 0.25]
    assert all(field.metadata["meaning"] for field in dataclasses.fields(Config))


# what a key affects

OTHER: dict[str, Any] = {
    "seed": 1,
    "rounds": 1,
    "participation": 0.5,
    "local_epochs": 2,
    "batch_size": 1,
    "accumulate": 2,
    "lr": 1.0,
    "momentum": 0.5,
    "weight_decay": 0.5,
    "max_update_norm": 1.0,
    "min_replies": 2,
    "unseen": 0.5,
    "init": "a",
    "public_samples": 1,
    "precision": "bf16",
    "device": "cuda",
    "batch_norm": "local",
    "eval_every": 2,
    "checkpoint_every": 2,
    "save": "best",
    "metrics": ["accuracy"],
    "finetune_epochs": 1,
    "splits": [0.5, 0.25, 0.25],
    "out": "a",
    "cache": "a",
    "figures": ["a"],
    "data_figures": ["a"],
    "plugins": ["a"],
    "quiet": True,
    "debug": True,
    **{key: {"_target_": "a.B"} for key in GROUPS},
    "choices": {"model": "a"},
}
"""A value for each key that is not its default."""

DATA = {"seed", "public_samples", "splits", "dataset", "partition", "shift"}
NOTHING = {
    "checkpoint_every",
    "save",
    "out",
    "cache",
    "figures",
    "data_figures",
    "plugins",
    "quiet",
    "debug",
    "engine",
    "choices",
}


def test_every_key_says_what_it_affects() -> None:
    said = {field.name: field.metadata["affects"] for field in dataclasses.fields(Config)}
    assert set(said.values()) == {"data", "result", "nothing"}
    assert {key for key, affects in said.items() if affects == "data"} == DATA
    assert {key for key, affects in said.items() if affects == "nothing"} == NOTHING


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Config)])
def test_a_key_changes_the_identities_that_it_affects_and_no_other(key: str) -> None:
    changed = Config(**{key: OTHER[key]})
    assert getattr(changed, key) != getattr(Config(), key)
    assert (identity(changed, "data") != identity(Config(), "data")) == (key in DATA)
    assert (identity(changed) != identity(Config())) == (key not in NOTHING)


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Config)])
def test_what_data_need_is_kept_for_them(key: str) -> None:
    kept = getattr(Config(**{key: OTHER[key]}).for_data(), key) != getattr(Config(), key)
    assert kept == (key in DATA | {"cache", "plugins"})


def test_where_a_class_lies_is_no_part_of_an_identity() -> None:
    def there(module: str) -> Config:
        specs = [{"_target_": f"{module}.cnn", "width": 1}, {"_target_": f"{module}.mlp"}]
        return Config(model={"mixture": specs}, strategy={"_target_": f"{module}.FedD2S"})

    assert identity(there("strategies.fedd2s")) == identity(there("strategies.fedd2s.client"))
    assert identity(there("a"))["model"]["mixture"][0] == {"_target_": "cnn", "width": 1}
    assert identity(Config(strategy={"_target_": "a.B"})) != identity(Config(strategy={"_target_": "a.C"}))
    assert targets([there("a").model, there("a").strategy]) == ["a.FedD2S", "a.cnn", "a.mlp"]


def test_an_identity_is_the_same_from_a_file_and_a_missing_key_counts_as_its_default() -> None:
    config = compose_config(["strategy=fedd2s", "model=mixed", "partition=dirichlet"])
    assert identity(json.loads(config.to_json())) == identity(config) == json.loads(json.dumps(identity(config)))
    assert identity({}) == identity(Config())


def test_defaults_are_not_shared() -> None:
    first, second = Config(), Config()
    first.splits.append(1.0)
    first.dataset["x"] = 1
    assert second.splits == [0.6, 0.15, 0.25]
    assert second.dataset == Config().dataset == {}


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().rounds = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "values", "accepted"),
    [
        ("rounds", [0, -1], "at least 1"),
        ("batch_size", [0, -5], "at least 1"),
        ("local_epochs", [0], "at least 1"),
        ("eval_every", [-1], "at least 0"),
        ("checkpoint_every", [-1], "at least 0, or null"),
        ("seed", [-1], "at least 0"),
        ("finetune_epochs", [-1], "at least 0"),
        ("lr", [0.0, -0.1, NAN, INF], "above 0"),
        ("momentum", [-0.1, 1.0, 1.5, NAN], "[0, 1)"),
        ("weight_decay", [-0.1, NAN, INF], "at least 0"),
        ("participation", [0.0, -0.5, 1.01, NAN], "(0, 1]"),
        ("batch_norm", ["global", "", "Local"], "aggregate, local, reset"),
        ("precision", ["bfloat16", "", "float16"], "float32, bf16"),
        (
            "splits",
            [
                [],
                [1.0],
                [0.5, 0.5],
                [0.25] * 4,
                [0.6, 0.2, 0.1],
                [0.6, 0.2, 0.3],
                [1.2, -0.4, 0.2],
                [0.0, 0.5, 0.5],
                [0.5, 0.5, 0.0],
                [NAN, 0.5, 0.5],
            ],
            "sum to 1",
        ),
    ],
)
def test_impossible_values_are_named(key: str, values: list[Any], accepted: str) -> None:
    for value in values:
        with pytest.raises(UserError) as caught:
            Config(**{key: value})
        assert str(caught.value).startswith(f"{key}={value!r} is not possible. Accepted: ")
        assert accepted in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"rounds": 1, "batch_size": 1, "local_epochs": 1, "eval_every": 0},
        {"seed": 0, "finetune_epochs": 0, "momentum": 0.0, "weight_decay": 0.0},
        {"participation": 1.0, "momentum": 0.999, "lr": 1e-12},
        {"splits": [0.75, 0.0, 0.25]},
        {"splits": [0.7, 0.1, 0.2]},  # sums to 0.9999999999999999
        {"batch_norm": "reset", "precision": "bf16"},
    ],
)
def test_values_at_the_border_are_possible(values: dict[str, Any]) -> None:
    config = Config(**values)
    assert {key: getattr(config, key) for key in values} == values


def test_json_round_trip() -> None:
    config = Config(
        seed=2**62,
        lr=0.1 + 0.2,
        out="runs/ä",
        splits=[0.5, 0.25, 0.25],
        partition={"_target_": "x.Y", "alpha": 0.3, "nested": {"a": [1, None]}},
        plugins=["own"],
        choices={"model": "cnn"},
    )
    text = config.to_json()
    assert Config.from_json(text) == config
    assert "\n" not in text
    assert list(json.loads(text)) == sorted(field.name for field in dataclasses.fields(Config))


def test_json_does_not_depend_on_the_order_of_keys() -> None:
    first, second = Config(model={"a": 1, "b": 2}), Config(model={"b": 2, "a": 1})
    assert first.to_json() == second.to_json()


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"unknown key 'round'\. Did you mean 'rounds'\? Accepted: accumulate, aggregation, "
    ):
        Config.from_dict({"round": 3})


def test_values_of_json_are_checked_too() -> None:
    with pytest.raises(UserError, match="rounds=0"):
        Config.from_json('{"rounds": 0}')


@pytest.mark.parametrize(
    ("participation", "num_clients", "expected"),
    [(1.0, 20, 20), (0.5, 20, 10), (0.1, 25, 2), (0.3, 10, 3), (0.01, 20, 1), (0.07, 100, 7), (1.0, 1, 1)],
)
def test_number_of_sampled_clients(participation: float, num_clients: int, expected: int) -> None:
    assert Config(participation=participation).num_sampled(num_clients) == expected


def test_evaluates_every_so_often_and_at_the_end() -> None:
    config = Config(rounds=7, eval_every=3)
    assert [number for number in range(8) if config.evaluates(number)] == [3, 6, 7]
    assert [number for number in range(4) if Config(rounds=3).evaluates(number)] == [1, 2, 3]


def test_who_is_unseen_is_drawn_once() -> None:
    drawn = Config(unseen=0.3).unseen_clients(10)
    assert len(drawn) == 3
    assert drawn == Config(unseen=0.3, lr=0.5).unseen_clients(10) != Config(unseen=0.3, seed=1).unseen_clients(10)
    assert Config().unseen_clients(10) == frozenset()
    assert len(Config(unseen=0.01).unseen_clients(10)) == 1
    assert len(Config(unseen=0.99).unseen_clients(10)) == 9


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_impossible_share(share: float) -> None:
    with pytest.raises(UserError, match=r"unseen=.* is not possible\. Accepted: a share in \[0, 1\)"):
        Config(unseen=share)


@pytest.mark.parametrize("value", ["many", "null", "[[1]]", "{a:1}", "1.5.2"])
@pytest.mark.parametrize(
    "key", [field.name for field in dataclasses.fields(Config) if field.type in (int, float, bool)]
)
def test_what_a_key_accepts_is_said_with_every_mistake(key: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"^{key}.*Accepted: ") as caught:
        compose_config([f"{key}={value}"])
    assert "\n" not in str(caught.value)
