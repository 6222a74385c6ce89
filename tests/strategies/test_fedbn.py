"""FedBN: which layers it finds, and FedAvg as its limit."""

import torch
from federations import personal

from fedpers.config.build import build
from fedpers.config.compose import compose_config
from strategies.fedbn import FedBN

# x = 1 with label 0, logits scale * (a, b), lr 1. With p = softmax(logits)[0]: dCE/dhead = scale (p - 1) (1, -1),
# dCE/dscale = (a - b) (p - 1). From scale 2 and head (0, 0), p = 1/2: the head's step leads to (1, -1).
NORMED = ["model=resnet18", "model.norm=batch", "model.width=4", "rounds=2", "partition.max_samples=60"]


def test_fedbn_without_batch_norm_is_fedavg(federate) -> None:
    assert federate("strategy=fedbn").scores.equals(federate("strategy=fedavg").scores)


def test_fedbn_is_fedavg_under_the_local_policy(federate) -> None:
    own = federate("strategy=fedbn", "batch_norm=aggregate", *NORMED)
    assert personal(own).equals(personal(federate("strategy=fedavg", "batch_norm=local", *NORMED)))
    assert not personal(own).equals(personal(federate("strategy=fedavg", "batch_norm=aggregate", *NORMED)))


def test_fedbn_finds_layers_by_type_not_by_name() -> None:
    """ResNet's BatchNorm in the stem is called `stem.1`."""
    options = compose_config(["model=resnet18", "model.norm=batch", "model.width=4"]).model
    model = build(options, "model", shape=(3, 8, 8), num_classes=10)
    keys = FedBN().personal_keys(model)
    norms = [name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 20
    assert {f"{name}.{key}" for name in norms for key in ("weight", "bias", "running_mean", "running_var")} <= keys
    assert len(keys) == 5 * len(norms)
