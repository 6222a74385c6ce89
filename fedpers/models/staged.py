"""The stage contract: a model is an ordered list of named stages, the last of which is the head.

A *cut* c divides the model after its c-th stage: stages 1 ... c turn an input into a representation, stages
c+1 ... L turn the representation into logits. Keys of the state dictionary start with the stage's name
("conv1.0.weight"), so personal layers are named by stage.
"""

from collections.abc import Mapping
from functools import cached_property

from torch import Tensor, nn

from fedpers.errors import UserError, unknown_name


class Staged(nn.Sequential):
    """A model as named stages.

    Args:
        stages: The stages by name, in order; the last is the head and returns logits of shape (N, classes).
    """

    def __init__(self, stages: Mapping[str, nn.Module]) -> None:
        """Register the stages in order."""
        super().__init__()
        for name, stage in stages.items():
            self.add_module(name, stage)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages, in order."""
        return tuple(self._modules)

    def tensors(self) -> dict[str, Tensor]:
        """Return what `state_dict` returns, detached and in its order, at a small part of its cost."""
        return {key: getattr(module, name).detach() for key, module, name in self._entries}

    @cached_property
    def _entries(self) -> list[tuple[str, nn.Module, str]]:
        """Every entry of the state dictionary, the module that owns it, and its name there."""
        owners = dict(self.named_modules())
        entries = []
        for key in self.state_dict():
            path, _, name = key.rpartition(".")
            entries.append((key, owners[path], name))
        return entries

    def run_to(self, inputs: Tensor, cut: int) -> Tensor:
        """Return the representation after the first `cut` stages; cut 0 is the input itself."""
        for stage in list(self)[:cut]:
            inputs = stage(inputs)
        return inputs

    def run_from(self, representation: Tensor, cut: int) -> Tensor:
        """Return the logits for a representation at `cut`."""
        for stage in list(self)[cut:]:
            representation = stage(representation)
        return representation

    def features(self, inputs: Tensor) -> Tensor:
        """Return what enters the head, flat: (N, d)."""
        return self.run_to(inputs, len(self) - 1).flatten(1)

    def features_and_logits(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return what enters the head, flat, (N, d), and the logits."""
        hidden = self.run_to(inputs, len(self) - 1)
        return hidden.flatten(1), self.run_from(hidden, len(self) - 1)

    def with_head(self, head: nn.Module) -> "Staged":
        """Return a model of the same stages with another head; this one stays as it is."""
        *stages, (name, _) = self.named_children()
        return Staged({**dict(stages), name: head})

    def check_stages(self, names: tuple[str, ...], key: str) -> None:
        """Raise a UserError when a configuration key names a stage that the model lacks."""
        for name in names:
            if name not in self._modules:
                raise unknown_name(f"stage in {key}:", name, self.stage_names)

    def check_cuts(self, cuts: tuple[int, ...], key: str, *, whole: bool = False) -> None:
        """Raise a UserError when a configuration key names a cut that the model lacks.

        Args:
            cuts: The cuts.
            key: The key.
            whole: Whether the cut behind the last stage, which leaves nothing behind it, is one as well.
        """
        last = len(self) - (not whole)
        for cut in cuts:
            if not 1 <= cut <= last:
                raise UserError(
                    f"{key}={list(cuts)}: the model has no cut {cut}. Accepted: 1 to {last}; cut c lies behind "
                    f"stage c of {', '.join(self.stage_names)}"
                )


def stage_of(key: str) -> str:
    """Return the name of the stage that a state-dictionary key belongs to."""
    return key.partition(".")[0]
