"""FedRep, FedBABU, LG-FedAvg and FedBN: by hand, and as limits of FedAvg and Local."""

import math

import pytest
import torch
from toys import make_task, three_parameters

from fedpers.build import build
from fedpers.compose import compose_config
from fedpers.errors import UserError
from strategies.fedbabu import FedBABU
from strategies.fedbn import FedBN
from strategies.fedrep import FedRep
from strategies.lg_fedavg import LGFedAvg

# x = 1 with label 0, logits scale * (a, b), lr 1. With p = softmax(logits)[0]: dCE/dhead = scale (p - 1) (1, -1),
# dCE/dscale = (a - b) (p - 1). From scale 2 and head (0, 0), p = 1/2: the head's step leads to (1, -1).
NORMED = ["model=resnet18", "model.norm=batch", "model.width=4", "rounds=2", "partition.max_samples=60"]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def personal(run):  # type: ignore[no-untyped-def]
    return run.scores[run.scores.model == "personal"].reset_index(drop=True)


def test_fedrep_fits_the_head_first() -> None:
    client = FedRep(personal=("head",), head_epochs=1)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([1, -1])
    # then the base, with logits 2 (1, -1): p = sigmoid(4), dCE/dscale = 2 (p - 1)
    assert list(update.send) == ["base.weight"]
    assert update.send["base.weight"].tolist() == pytest.approx([2 + 2 * (1 - sigmoid(4))])
    assert update.metrics["loss"] == pytest.approx(-math.log(sigmoid(4)), abs=1e-6)


def test_fedrep_counts_both_kinds_of_epochs() -> None:
    client = FedRep(personal=("head",), head_epochs=2)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], local_epochs=2))
    a = 1 + 2 * (1 - sigmoid(4))  # the head's second step: scale 2 times 1 - p
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([a, -a])
    first = 2 + 2 * a * (1 - sigmoid(4 * a))
    assert update.send["base.weight"].tolist() == pytest.approx([first + 2 * a * (1 - sigmoid(2 * a * first))])


def test_fedrep_leaves_gradients_on() -> None:
    model = three_parameters(2.0)
    client = FedRep(personal=("head",), head_epochs=1)
    client.train(make_task(model, client, [[1.0]], [0]))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_fedrep_without_personal_layers_is_fedavg(federate) -> None:
    nothing = federate("strategy=fedrep", "strategy.personal=[]", "participation=0.5")
    assert personal(nothing).equals(personal(federate("strategy=fedavg", "participation=0.5")))


def test_fedbabu_trains_the_body_only() -> None:
    client = FedBABU(personal=("head",), tuning_epochs=0)
    update = client.train(make_task(three_parameters(1.0, (1.0, -1.0)), client, [[1.0]], [0]))
    assert {key: value.tolist() for key, value in update.send.items()} == {
        "base.weight": [pytest.approx(1 + 2 * (1 - sigmoid(2)))]
    }
    assert update.keep == {}


def test_fedbabu_tunes_the_whole_model_before_use() -> None:
    client = FedBABU(personal=("head",), tuning_epochs=1)
    model = client.personalize(make_task(three_parameters(1.0, (1.0, -1.0)), client, [[1.0]], [0]))
    step = 1 - sigmoid(2)
    assert model.get_parameter("base.weight").tolist() == pytest.approx([1 + 2 * step])
    assert model.get_parameter("head.weight").flatten().tolist() == pytest.approx([1 + step, -1 - step])


def test_fedbabu_head_stands_still_and_tuning_is_forgotten(federate) -> None:
    """Without tuning all clients answer by the same model; tuning makes them differ and leaves training as it was."""
    plain = federate("strategy=fedbabu", "strategy.tuning_epochs=0")
    tuned = federate("strategy=fedbabu", "strategy.tuning_epochs=2")
    assert personal(tuned).loss.mean() < personal(plain).loss.mean()
    up = [run.traffic[run.traffic.direction == "up"].groupby("kind").bytes.sum()["weights"] for run in (plain, tuned)]
    assert up[0] == up[1]
    column = federate("strategy=fedbabu", "strategy.tuning_epochs=0", "finetune_epochs=2").scores
    assert column[column.model == "finetuned"].loss.mean() < personal(plain).loss.mean()


def test_lg_fedavg_sends_the_head() -> None:
    client = LGFedAvg(shared=("head",))
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    assert list(update.send) == ["head.weight"]
    assert update.send["head.weight"].flatten().tolist() == pytest.approx([1, -1])
    assert {key: value.tolist() for key, value in update.keep.items()} == {"base.weight": [2.0]}


def test_lg_fedavg_shares_the_last_stages(federate) -> None:
    """The trap: the first layers are what stays."""
    run = federate("strategy=lg_fedavg")
    assert set(run.traffic[run.traffic.direction == "up"].kind) == {"weights", "metrics"}
    client = build(compose_config(["strategy=lg_fedavg"]).strategy, "strategy")
    assert client.is_personal("conv1.0.weight")
    assert not client.is_personal("head.bias")


def test_lg_fedavg_at_its_ends(federate) -> None:
    nothing = federate("strategy=lg_fedavg", "strategy.shared=[]", "participation=0.5")
    assert personal(nothing).equals(personal(federate("strategy=local", "participation=0.5")))
    everything = federate("strategy=lg_fedavg", "strategy.shared=[fc1,fc2,head]", "participation=0.5")
    assert personal(everything).equals(personal(federate("strategy=fedavg", "participation=0.5")))


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


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("fedrep", "head_epochs", -1), ("fedbabu", "tuning_epochs", -1), ("fedrep", "personal", ["nothing"])],
)
def test_impossible_value_is_named(strategy: str, key: str, value: object, config) -> None:
    spec = compose_config([f"strategy={strategy}"]).strategy | {key: value}
    with pytest.raises(UserError, match=rf"strategy\.{key}"):
        build(spec, "strategy").check(three_parameters(), config())
