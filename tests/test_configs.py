"""Every configuration composes, builds and says what it is."""

import re

import pytest

from fedpers.build import build, resolve
from fedpers.compose import ALL_GROUPS, compose_config, group_choices
from fedpers.config import GROUPS
from fedpers.help import describe, keys

EVERY = [(group, name) for group in ALL_GROUPS for name in group_choices(group)]
SHAPES = {"digits": (1, 8, 8)}
SHAPES |= dict.fromkeys(("fashion_mnist", "femnist", "glyphs"), (1, 28, 28))
SHAPES |= dict.fromkeys(("cifar10", "cifar100", "cinic10"), (3, 32, 32))


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
        build(getattr(config, group), group)
    for path in config.figures:
        assert callable(resolve(path, "figures"))


@pytest.mark.parametrize("name", group_choices("experiment"))
def test_first_command_of_an_experiment_is_true(name: str) -> None:
    """The command in the file's second line composes to that very experiment."""
    line = group_choices("experiment")[name].read_text().splitlines()[1]
    overrides = re.sub(r"^# python -m fedpers\.run", "", line).split()
    assert compose_config(overrides).choices["experiment"] == name
