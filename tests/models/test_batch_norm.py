"""BatchNorm under its three policies, and its statistics by hand."""

import pytest
import torch
from torch import nn

from fedpers.models.batch_norm import layer_keys, local_keys, reestimate_statistics
from fedpers.models.mlp import mlp
from fedpers.models.resnet import resnet18
from fedpers.models.staged import Staged
from fedpers.training import Split


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
