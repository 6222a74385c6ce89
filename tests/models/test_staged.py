"""Every model of the YAML files: stages, cuts, gradients, and values that are impossible."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from zoo import YAMLS, from_yaml, stages

from fedpers.errors import UserError
from fedpers.models.cnn import cnn
from fedpers.models.mlp import mlp
from fedpers.models.resnet import resnet18
from fedpers.models.staged import Staged, stage_of
from fedpers.seeds import seeded_initialization


@pytest.mark.parametrize("name", YAMLS)
@pytest.mark.parametrize(("shape", "num_classes"), [((1, 28, 28), 10), ((3, 32, 32), 100), ((1, 16, 16), 10)])
def test_stages_and_cuts(name: str, shape: tuple[int, int, int], num_classes: int) -> None:
    model = from_yaml(name, shape, num_classes).eval()
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(inputs)
        assert logits.shape == (2, num_classes)
        assert torch.equal(model.run_to(inputs, 0), inputs)
        assert torch.equal(model.run_to(inputs, len(model)), logits)
        for cut in range(len(model) + 1):
            assert torch.equal(model.run_from(model.run_to(inputs, cut), cut), logits)
    assert model.stage_names == stages(name)
    assert {stage_of(key) for key in model.state_dict()} == set(stages(name))
    head = [module for module in model.head.modules() if isinstance(module, nn.Linear)]
    assert [layer.out_features for layer in head] == [num_classes]


@pytest.mark.parametrize("name", YAMLS)
def test_no_two_stages_share_weights(name: str) -> None:
    model = from_yaml(name, (1, 16, 16), 10)
    names = [key for key, _ in model.named_parameters(remove_duplicate=False)]
    assert len(names) == len(list(model.parameters()))


@pytest.mark.parametrize("name", YAMLS)
def test_gradients_reach_every_parameter(name: str) -> None:
    with seeded_initialization(0, "model"):
        model = from_yaml(name, (1, 16, 16), 10, **({"width": 8} if name == "resnet18" else {}))
        inputs = torch.randn(4, 1, 16, 16)
    model(inputs).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_cut_divides_where_it_says() -> None:
    model = from_yaml("cnn", (1, 28, 28), 10)
    with torch.no_grad():
        shapes = [tuple(model.run_to(torch.zeros(1, 1, 28, 28), cut).shape[1:]) for cut in range(5)]
    assert shapes == [(1, 28, 28), (32, 14, 14), (64, 7, 7), (512,), (10,)]


def test_unknown_stages_and_cuts_are_named() -> None:
    model = mlp((1, 8, 8), 10, hidden=(4, 4))
    model.check_stages(("fc1", "head"), "strategy.personal")
    model.check_cuts((1, 2), "strategy.cuts")
    with pytest.raises(UserError, match=r"strategy\.personal: 'fc3'.*Accepted: fc1, fc2, head"):
        model.check_stages(("fc1", "fc3"), "strategy.personal")
    for cut in (0, 3, -1):
        with pytest.raises(UserError, match=rf"strategy\.cuts=\[1, {cut}\].*Accepted: 1 to 2"):
            model.check_cuts((1, cut), "strategy.cuts")


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (
            lambda: cnn((1, 8, 8), 10, channels=(4,) * 4, kernel_size=3, hidden=(), depth=1),
            "model.channels=[4, 4, 4, 4]",
        ),
        (lambda: cnn((1, 8, 8), 10, channels=(4,), kernel_size=4, hidden=(), depth=1), "model.kernel_size=4"),
        (lambda: cnn((1, 8, 8), 10, channels=(4,), kernel_size=0, hidden=(), depth=1), "model.kernel_size=0"),
        (lambda: cnn((1, 8, 8), 10, channels=(4,), kernel_size=-1, hidden=(), depth=1), "model.kernel_size=-1"),
        (lambda: cnn((1, 8, 8), 10, channels=(4, 0), kernel_size=3, hidden=(), depth=1), "model.channels=[4, 0]"),
        (lambda: cnn((1, 8, 8), 10, channels=(4,), kernel_size=3, hidden=(0,), depth=1), "model.hidden=[0]"),
        (lambda: cnn((1, 8, 8), 10, channels=(4,), kernel_size=3, hidden=(), depth=0), "model.depth=0"),
        (lambda: mlp((1, 8, 8), 10, hidden=(8, -1)), "model.hidden=[8, -1]"),
        (lambda: resnet18((1, 8, 8), 10, width=7, norm="group"), "model.width=7"),
        (lambda: resnet18((1, 8, 8), 10, width=0, norm="batch"), "model.width=0"),
    ],
)
def test_impossible_value_is_named(make: Callable[[], Staged], named: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert named in str(caught.value)
    assert "Accepted: " in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("resnet18", {"norm": "layer"}, r"model\.norm='layer'.*Accepted: group, batch"),
        ("cnn", {"channels": [32, "64"]}, r"model\.channels\[1\]='64'"),
        ("mlp", {"hiden": [4]}, r"model\.hiden.*Did you mean 'hidden'"),
    ],
)
def test_impossible_key_in_yaml(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_yaml(name, (1, 28, 28), 10, **changes)
