"""Plain PyTorch models as stages, so that whoever has a network need not know what a stage is."""

from torch import nn

from fedpers.models.staged import Staged

WHOLE = "model"
"""What the one stage of a model is called that does not say what its parts are."""

HEAD = "head"


def as_stages(model: nn.Module) -> Staged:
    """Return a model as stages: a Staged as it is, an nn.Sequential by its parts, any other as one stage.

    A stage of an nn.Sequential begins with a part that has parameters; those without (activations, pooling) belong to
    the stage before them, or to the first. The last stage is called `head`; others have the name of the part that they
    begin with, or `stage1`, `stage2`, ... where that is only a number.
    """
    if isinstance(model, Staged):
        return model
    if not isinstance(model, nn.Sequential) or not len(model):
        return Staged({WHOLE: model})
    groups: list[list[tuple[str, nn.Module]]] = [[]]
    for name, part in model.named_children():
        if _has_parameters(part) and any(_has_parameters(each) for _, each in groups[-1]):
            groups.append([])
        groups[-1].append((name, part))
    stages = {}
    for number, group in enumerate(groups, start=1):
        named = next((name for name, part in group if _has_parameters(part)), group[0][0])
        name = HEAD if number == len(groups) else f"stage{number}" if named.isdecimal() else named
        parts = [part for _, part in group]
        stages[name] = parts[0] if len(parts) == 1 else nn.Sequential(*parts)
    return Staged(stages)


def _has_parameters(part: nn.Module) -> bool:
    return next(part.parameters(), None) is not None
