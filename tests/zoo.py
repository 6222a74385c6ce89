"""The models of the YAML files."""

from pathlib import Path
from typing import Any

import yaml
from torch import nn

from fedpers.config.build import build
from fedpers.models.staged import Staged

CONFIGS = Path(__file__).parents[1] / "configs" / "model"
YAMLS = [*sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "mixed"), "mixed.0", "mixed.1", "mixed.2"]


def read(name: str) -> dict[str, Any]:
    """Return a model's specification; mixed.1 is the second of a mixture."""
    file, _, number = name.partition(".")
    spec = yaml.safe_load((CONFIGS / f"{file}.yaml").read_text())
    return spec["mixture"][int(number)] if number else spec


def stages(name: str) -> tuple[str, ...]:
    """Return the stages that a model has by its description."""
    if name == "resnet18":
        return "stem", "block1", "block2", "block3", "block4", "head"
    spec = read(name)
    convolutions = [f"conv{number + 1}" for number in range(len(spec.get("channels", [])))]
    return (*convolutions, *(f"fc{number + 1}" for number in range(len(spec["hidden"]))), "head")


def from_yaml(name: str, shape: tuple[int, int, int], num_classes: int, **changes: Any) -> Staged:
    return build(read(name) | changes, "model", shape=shape, num_classes=num_classes)


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
