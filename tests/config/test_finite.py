"""Every number of every group is finite, or named."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from fedpers.config.build import build
from fedpers.config.compose import group_choices
from fedpers.config.keys import GROUPS
from fedpers.errors import UserError

NUMBERS = [
    (group, name, key)
    for group in GROUPS
    for name, path in group_choices(group).items()
    for key, value in (OmegaConf.to_container(OmegaConf.load(path)) or {}).items()
    if isinstance(value, int | float | list | dict) and not isinstance(value, bool) and key != "mixture"
]


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize(("group", "name", "key"), NUMBERS)
def test_no_number_is_infinite(group: str, name: str, key: str, value: float) -> None:
    """With most of them training would go on, on nothing; nan is not even equal to itself."""
    spec: Any = OmegaConf.to_container(OmegaConf.load(group_choices(group)[name]))
    made: Any = (
        [value] if isinstance(spec[key], list) else {"num_cpus": value} if isinstance(spec[key], dict) else value
    )
    with pytest.raises(UserError, match=rf"{group}\.{key}.*is not possible. Accepted: finite numbers"):
        build(spec | {key: made}, group, shape=(1, 8, 8), num_classes=3)
