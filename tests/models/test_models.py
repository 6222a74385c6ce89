"""Models: stages, cuts, published sizes, and BatchNorm under its three policies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from fedpers.build import build
from fedpers.errors import UserError
from fedpers.models.batch_norm import layer_keys, local_keys, reestimate_statistics
from fedpers.models.cnn import cnn
from fedpers.models.mlp import mlp
from fedpers.models.resnet import resnet18
from fedpers.models.staged import Staged, stage_of
from fedpers.seeds import seeded_initialization
from fedpers.training import Split

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
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


# every model


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


# sizes


def test_cnn_has_the_published_size() -> None:
    """McMahan et al. (AISTATS 2017), section 3: "1,663,370 total parameters"."""
    assert num_parameters(from_yaml("cnn", (1, 28, 28), 10)) == 1_663_370


def test_mlp_size_by_hand() -> None:
    # (64 + 1) 5 + (5 + 1) 4 + (4 + 1) 10
    assert num_parameters(mlp((1, 8, 8), 10, hidden=(5, 4))) == 399


def test_mlp_without_hidden_layers_is_linear() -> None:
    model = mlp((1, 8, 8), 10, hidden=())
    assert model.stage_names == ("head",)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_resnet18_has_the_usual_size(norm: str) -> None:
    # the usual variant for CIFAR; both norms have a weight and a bias a channel
    assert num_parameters(from_yaml("resnet18", (3, 32, 32), 10, norm=norm)) == 11_173_962


def test_resnet18_halves_the_image_in_blocks_2_to_4() -> None:
    model = resnet18((3, 32, 32), 10, width=4, norm="group")
    with torch.no_grad():
        shapes = [tuple(model.run_to(torch.zeros(1, 3, 32, 32), cut).shape[1:]) for cut in range(1, 6)]
    assert shapes == [(4, 32, 32), (4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4)]


def test_group_norm_has_no_buffers() -> None:
    group = resnet18((3, 32, 32), 10, width=4, norm="group")
    assert list(group.buffers()) == []
    assert layer_keys(group) == frozenset()
    batch = resnet18((3, 32, 32), 10, width=4, norm="batch")
    assert len(list(batch.buffers())) == 3 * 20  # stem, 16 in blocks, 3 in shortcuts


def test_group_norm_does_not_mix_samples() -> None:
    model = resnet18((1, 8, 8), 10, width=4, norm="group").train()
    inputs = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(inputs)[:1], model(inputs[:1]), rtol=1e-4, atol=1e-4)


# impossible values


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


def test_convolutions_without_padding_take_the_border_away() -> None:
    model = cnn((1, 28, 28), 10, channels=(32, 64), kernel_size=5, hidden=(512,), depth=1, padding=False)
    assert model.get_parameter("fc1.1.weight").shape == (512, 64 * 4 * 4)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    with pytest.raises(UserError, match=r"model.channels=\[4, 4\]: stage conv2 leaves nothing of images of 8x8"):
        cnn((1, 8, 8), 10, channels=(4, 4), kernel_size=5, hidden=(), depth=1, padding=False)


def test_as_many_convolutions_as_the_image_bears() -> None:
    model = cnn((1, 8, 8), 10, channels=(2, 2, 2), kernel_size=3, hidden=(), depth=1)
    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


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


# BatchNorm


def normalized() -> Staged:
    return Staged({"fc1": nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)), "head": nn.Linear(1, 2)})


STATISTICS = {"fc1.1.running_mean", "fc1.1.running_var", "fc1.1.num_batches_tracked"}
LEARNED = {"fc1.1.weight", "fc1.1.bias"}


@pytest.mark.parametrize(
    ("policy", "keys"), [("aggregate", set()), ("local", STATISTICS | LEARNED), ("reset", STATISTICS)]
)
def test_local_keys(policy: str, keys: set[str]) -> None:
    assert local_keys(normalized(), policy) == keys
    assert local_keys(mlp((1, 8, 8), 10, hidden=(4,)), policy) == frozenset()


def test_layer_keys_of_a_resnet() -> None:
    keys = layer_keys(resnet18((1, 8, 8), 10, width=2, norm="batch"))
    assert len(keys) == 5 * 20
    assert "block2.0.downsample.1.running_var" in keys
    assert not any(key.startswith("head") or "conv" in key for key in keys)


def identity_before_norm() -> tuple[Staged, nn.BatchNorm1d]:
    model = normalized()
    nn.init.ones_(model.fc1[0].weight)
    nn.init.zeros_(model.fc1[0].bias)
    return model, model.fc1[1]


def column(*values: float) -> Split:
    return Split(torch.tensor(values, dtype=torch.float32)[:, None], torch.zeros(len(values), dtype=torch.int64))


def test_reestimated_statistics_by_hand() -> None:
    # batches (0, 2) and (4, 10): means 1 and 7, unbiased variances 2 and 18, averages 4 and 10
    model, layer = identity_before_norm()
    layer.running_mean.fill_(99)
    layer.running_var.fill_(99)
    before = {key: value.clone() for key, value in model.state_dict().items() if key not in STATISTICS}
    reestimate_statistics(model, column(0, 2, 4, 10), batch_size=2)
    assert layer.running_mean.tolist() == pytest.approx([4])
    assert layer.running_var.tolist() == pytest.approx([10])
    assert int(layer.num_batches_tracked) == 2
    assert layer.momentum == 0.1
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


def test_reestimating_twice_changes_nothing() -> None:
    model, layer = identity_before_norm()
    found = []
    for _ in range(2):
        reestimate_statistics(model, column(0, 2, 4, 10), batch_size=2)
        found.append((layer.running_mean.tolist(), layer.running_var.tolist()))
    assert found[0] == found[1]


def test_reestimation_with_a_last_batch_of_one() -> None:
    # as in training, the third sample joins the batch before it: mean 2, unbiased variance 4
    model, layer = identity_before_norm()
    reestimate_statistics(model, column(0, 2, 4), batch_size=2)
    assert layer.running_mean.tolist() == pytest.approx([2])
    assert layer.running_var.tolist() == pytest.approx([4])


def test_reestimation_without_batch_norm_runs_nothing() -> None:
    model = mlp((1, 8, 8), 10, hidden=(4,)).eval()
    reestimate_statistics(model, column(1), batch_size=2)  # would not fit the first layer
    assert not model.training
