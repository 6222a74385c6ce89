"""Plain PyTorch models: their parts are stages, and a run takes them as they are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from federations import TINY, tables
from torch import Tensor, nn

import fedpers
from fedpers.models.staged import Staged
from fedpers.models.wrapped import as_stages


def test_parts_with_parameters_begin_stages() -> None:
    parts = [nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)]
    found = as_stages(nn.Sequential(*parts))
    assert {name: len(list(stage.children())) for name, stage in found.named_children()} == {
        "stage1": 3,
        "stage2": 0,
        "stage3": 2,
        "head": 0,
    }
    inputs = torch.randn(5, 4)
    assert torch.equal(found.eval()(inputs), nn.Sequential(*parts).eval()(inputs))


def test_names_stay_but_the_heads() -> None:
    model = nn.Sequential()
    for name, part in {
        "stem": nn.Linear(4, 3),
        "act": nn.ReLU(),
        "body": nn.Linear(3, 3),
        "top": nn.Linear(3, 2),
    }.items():
        model.add_module(name, part)
    assert as_stages(model).stage_names == ("stem", "body", "head")
    assert as_stages(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))).stage_names == ("head",)
    staged = Staged({"a": nn.Linear(2, 2)})
    assert as_stages(staged) is staged


class Whole(nn.Module):
    """A model whose forward pass nobody can take apart."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, 8), nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.flatten(1)).relu())  # type: ignore[no-any-return]


def test_any_other_model_is_one_stage() -> None:
    assert as_stages(Whole(4, 2)).stage_names == ("model",)
    assert as_stages(nn.Sequential()).stage_names == ("model",)


def whole(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return Whole(shape[1] * shape[2], num_classes)


def plain(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    hidden = [nn.Linear(shape[1] * shape[2], 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Dropout(0.2), nn.Linear(6, num_classes))


@pytest.fixture
def simulate(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPERS_CACHE", str(cache))
    small = [text for text in TINY if not text.startswith(("model", "rounds"))]
    return lambda **values: fedpers.simulate(*small, rounds=2, progress=False, **values)


@pytest.mark.parametrize("strategy", ["fedavg", "fedper", "fedd2s", "fedrep", "lg_fedavg"])
def test_strategies_take_their_stages(strategy: str, simulate: Any) -> None:
    run = simulate(strategy=strategy, model=plain)
    assert run.summary["num_failures"] == 0
    assert run.model(0, [__name__]).model.stage_names[:2] == ("stage1", "stage2")


def test_one_stage_is_enough_where_nothing_is_personal(simulate: Any) -> None:
    assert simulate(strategy="fedavg", model=whole).summary["num_failures"] == 0
    with pytest.raises(fedpers.UserError, match=r"unknown stage in strategy\.personal: 'head'.*Accepted: model"):
        simulate(strategy="fedper", model=whole)


def test_a_model_itself_gives_its_weights(simulate: Any) -> None:
    torch.manual_seed(0)
    model = plain((1, 8, 8), 10)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    first, again = (simulate(strategy="fedavg", model=model) for _ in range(2))
    assert tables(first.folder) == tables(again.folder)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())  # copies are trained
    assert first.identity == again.identity
    with torch.no_grad():
        model[1].weight.mul_(2)  # type: ignore[index,union-attr]
    other = simulate(strategy="fedavg", model=model)
    assert other.identity != first.identity
    assert tables(other.folder) != tables(first.folder)
