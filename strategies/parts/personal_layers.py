"""Stages that stay with their client, while the others are averaged."""

from collections.abc import Iterable
from dataclasses import dataclass

from fedpers.algorithm import Algorithm
from fedpers.config.keys import Config
from fedpers.models.staged import Staged, stage_of


def keys_of(model: Staged, stages: Iterable[str]) -> frozenset[str]:
    """Return the keys of a model's state dictionary that belong to some of its stages."""
    chosen = frozenset(stages)
    return frozenset(key for key in model.tensors() if stage_of(key) in chosen)


def all_keys(model: Staged) -> frozenset[str]:
    """Return all keys of a model's state dictionary: no weight leaves its client."""
    return frozenset(model.tensors())


@dataclass(frozen=True)
class PersonalLayers(Algorithm):
    """An algorithm with personal stages.

    Args:
        personal: Names of the stages that stay.
    """

    personal: tuple[str, ...]

    def check(self, model: Staged, config: Config) -> None:
        """Check the stages' names."""
        model.check_stages(self.personal, "strategy.personal")

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep the personal stages."""
        return keys_of(model, self.personal)
