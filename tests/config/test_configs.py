"""Every configuration composes, builds and says what it is; experiments run from files to summary."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ondisk import CINIC10_CLASSES, write_cinic10_hub, write_femnist_hub, write_image_folder, write_leaf
from quickly import mostly_slow

from fedpers.config.build import build, resolve
from fedpers.config.compose import ALL_GROUPS, compose_config, group_choices
from fedpers.config.help import describe, keys
from fedpers.config.keys import GROUPS
from fedpers.results import Run
from fedpers.run import main

EVERY = [(group, name) for group in ALL_GROUPS for name in group_choices(group)]
SHAPES = {"digits": (1, 8, 8)}
SHAPES |= dict.fromkeys(("fashion_mnist", "femnist", "glyphs"), (1, 28, 28))
SHAPES |= dict.fromkeys(("cifar10", "cifar100", "cinic10"), (3, 32, 32))

NOTHING = {
    *(("optimizer", "sgd"), ("schedule", "constant"), ("augment", "none"), ("early_stop", "none")),
    *(("aggregation", "mean"), ("faults", "none"), ("attack", "none"), ("privacy", "none")),
}
"""Choices of which nothing is built."""


@pytest.mark.parametrize(("group", "name"), EVERY)
def test_choice_composes_and_says_what_it_is(group: str, name: str) -> None:
    config = compose_config([f"{group}={name}"])
    assert config.choices[group] == name
    path = group_choices(group)[name]
    assert describe(path)
    lines = path.read_text().splitlines()
    command = lines[1] if group == "experiment" else lines[0]
    assert command.startswith("# python -m fedpers.run")
    if name != "quickstart":  # which the bare command runs
        assert f"{group}={name}" in command


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, n in EVERY if g != "experiment"])
def test_choices_keys_are_commented_and_fit_their_target(group: str, name: str) -> None:
    spec = compose_config([f"{group}={name}"])
    values = getattr(spec, group)
    documented = {key for key, _, _ in keys(group_choices(group)[name])}
    assert documented == set(values) - {"_target_"}
    if (group, name) in NOTHING:
        assert values == {}
        return
    for part in values.get("mixture", [values]):
        assert callable(resolve(part["_target_"], group))


@pytest.mark.parametrize("name", group_choices("experiment"))
def test_experiment_builds(name: str) -> None:
    config = compose_config([f"experiment={name}"])
    shape = SHAPES[config.choices["dataset"]]
    model = build(config.model, "model", shape=shape, num_classes=10)
    algorithm = build(config.strategy, "strategy")
    algorithm.check(model, config)
    for group in set(GROUPS) - {"dataset", "model", "strategy"}:
        if (group, config.choices[group]) not in NOTHING:
            build(getattr(config, group), group)
    for path in config.figures:
        assert callable(resolve(path, "figures"))


@pytest.mark.parametrize("name", group_choices("experiment"))
def test_first_command_of_an_experiment_is_true(name: str) -> None:
    """The command in the file's second line composes to that very experiment."""
    line = group_choices("experiment")[name].read_text().splitlines()[1]
    overrides = re.sub(r"^# python -m fedpers\.run", "", line).split()
    assert compose_config(overrides).choices["experiment"] == name


WRITERS = {f"f{number:04}_00": 60 for number in range(4)}
FORMS: dict[str, tuple[str, Callable[[Path], object], list[str]]] = {
    "femnist, LEAF": ("femnist", lambda root: write_leaf(root / "all_data", WRITERS), ["partition.num_clients=3"]),
    "femnist, hub": ("femnist", lambda root: write_femnist_hub(root, WRITERS), ["partition.num_clients=3"]),
    "cinic10, folder": (
        "cinic10",
        lambda root: write_image_folder(root / "CINIC-10", ("train", "valid", "test"), CINIC10_CLASSES, each=4),
        ["partition.num_clients=3", "partition.alpha=1.0", "dataset.complete=false"],
    ),
    "cinic10, hub": (
        "cinic10",
        lambda root: write_cinic10_hub(root, 40),
        ["partition.num_clients=3", "partition.alpha=1.0", "dataset.complete=false"],
    ),
    "glyphs": ("glyphs", lambda root: None, ["dataset.num_writers=3"]),
}


@pytest.mark.parametrize("form", mostly_slow(FORMS, ["femnist, LEAF", "cinic10, folder"]))
def test_experiment_from_files_to_summary(form: str, tmp_path: Path) -> None:
    name, write, overrides = FORMS[form]
    write(tmp_path / "data")
    root = [] if name == "glyphs" else [f"dataset.root={tmp_path / 'data'}"]
    small = ["rounds=2", "eval_every=1", "model.hidden=[16]", "model.channels=[4,4]", "quiet=true"]
    run, cache = tmp_path / "run", tmp_path / "cache"
    assert main([f"experiment=fedd2s_{name}", *root, *overrides, *small, f"out={run}", f"cache={cache}"]) == 0
    summary = Run(run).summary
    scored = summary["last"]["test"]["personal"]
    assert scored["num_clients"] == 3
    assert 0 <= scored["mean"] <= 1
    assert (run / "figures" / "layer_dropping.png").is_file()


@pytest.mark.parametrize(
    ("overrides", "partition"),
    [
        ([], "natural"),
        (["strategy=fedper"], "natural"),
        (["dataset=digits"], "dirichlet"),
        (["dataset=cifar10", "partition.alpha=0.1"], "dirichlet"),
        (["dataset=glyphs"], "dirichlet"),
        (["dataset=femnist", "partition=natural"], "natural"),
        (["experiment=fedd2s_femnist", "dataset=glyphs"], "natural"),
    ],
)
def test_quickstarts_writers_belong_to_its_data(overrides: list[str], partition: str) -> None:
    """Other data need not say whose its samples are: without a choice of clients they are divided as by default."""
    assert compose_config(overrides).choices["partition"] == partition


@pytest.mark.parametrize(("group", "key"), [("faults", "dropout"), ("attack", "share"), ("aggregation", "trim")])
def test_a_key_of_what_has_not_been_chosen_is_named(group: str, key: str, cli) -> None:  # type: ignore[no-untyped-def]
    code, _, err = cli(f"{group}.{key}=0.3")
    assert code == 2
    assert err.startswith(
        f"error: {group}.{key}=0.3 is not possible where nothing is chosen that it is a key of. Accep"
    )
