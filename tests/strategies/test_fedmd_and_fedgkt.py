"""FedMD and FedGKT: by hand, their public set and server, and Local as their limit."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from by_hand import sigmoid
from federations import personal
from toys import make_task, three_parameters

from fedpers.build import build
from fedpers.client_app import open_run
from fedpers.compose import compose_config
from fedpers.data.prepare import hold_out
from fedpers.errors import UserError
from fedpers.training import Split
from strategies.fedmd import CONSENSUS, LOGITS, ROUND, FedMD

PUBLIC = ["public_samples=20", "strategy.alignment_samples=10"]


def test_fedmd_digests_then_revisits_then_answers() -> None:
    """x = 1, scale 2, head (0, 0), consensus (1, -1): |f - c| / 2 moves the head to (1, -1), CE on label 0 the rest."""
    client = FedMD(alignment_samples=1, digest_epochs=1)
    received = {CONSENSUS: torch.tensor([[1.0, -1.0]]), ROUND: torch.tensor(1)}
    task = make_task(three_parameters(2.0), client, [[1.0]], [0], received=received, round=2)
    public = Split(torch.tensor([[1.0]]), torch.tensor([1]))
    task = dataclasses.replace(task, data=dataclasses.replace(task.data, public=public))
    task.data.__dict__["train"] = Split(torch.tensor([[1.0]]), torch.tensor([0]))
    update = client.train(task)
    step = 2 * (1 - sigmoid(4))  # logits are 2 (1, -1)
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([1 + step, -1 - step])
    assert update.keep["base.weight"].tolist() == pytest.approx([2 + step])
    logit = (2 + step) * (1 + step)
    assert update.send[LOGITS].flatten().tolist() == pytest.approx([logit, -logit])


def test_fedmd_consensus_is_the_mean_of_the_clients(federate) -> None:
    run = federate("strategy=fedmd", *PUBLIC)
    assert set(run.traffic.kind) == {"soft_labels", "metrics", "control"}
    up = run.traffic[(run.traffic.direction == "up") & (run.traffic.kind == "soft_labels")]
    assert set(up.bytes) == {10 * 10 * 4 + 128}  # 10 samples, 10 classes, float32, NumPy's header


def test_fedmd_draws_other_samples_every_round() -> None:
    """The trap: not the first batches of the public set, always."""
    client = FedMD(alignment_samples=5, digest_epochs=1)
    public = Split(torch.arange(50.0)[:, None], torch.zeros(50, dtype=torch.int64))
    task = SimpleNamespace(data=SimpleNamespace(public=public), config=SimpleNamespace(seed=3))
    rounds = [client.public(task, round).inputs.flatten().tolist() for round in range(1, 9)]  # type: ignore[arg-type]
    assert len({tuple(drawn) for drawn in rounds}) == 8
    assert len({value for drawn in rounds for value in drawn}) > 20
    assert client.public(task, 1).inputs.flatten().tolist() == rounds[0]  # type: ignore[arg-type]


def test_fedmd_without_digest_is_local(federate) -> None:
    nothing = personal(federate("strategy=fedmd", *PUBLIC, "strategy.digest_epochs=0"))
    assert nothing.equals(personal(federate("strategy=local", "public_samples=20")))
    assert not nothing.equals(personal(federate("strategy=fedmd", *PUBLIC)))


def test_public_samples_belong_to_nobody(config) -> None:
    composed = config("public_samples=50", "partition.max_samples=null")
    _, shards = open_run(composed.to_json())
    assert shards.sizes.sum() == 1797 - 50
    index = np.load(shards.folder / "index.npy")
    assert len(index) == len(set(index.tolist())) == 1797
    assert index[-50:].tolist() == hold_out(1797, 50, composed.seed).tolist()
    public = shards.public()
    assert public.inputs.shape == (50, 1, 8, 8)
    data = shards.client(0)
    assert data.public is public
    labels = np.load(shards.folder / "labels.npy")
    assert public.labels.tolist() == labels[-50:].tolist()
    assert open_run(config().to_json())[1].client(0).public is None


def test_public_samples_are_left_over_where_possible(config) -> None:
    """So that algorithms with a public set and without share their clients' data."""
    with_them, without = (open_run(config(*keys).to_json())[1] for keys in (["public_samples=50"], []))
    assert with_them.manifest["assignment_sha256"] == without.manifest["assignment_sha256"]
    assert with_them.folder != without.folder
    index = np.load(with_them.folder / "index.npy")
    assert len(set(index.tolist())) == len(index) == 120 + 50


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["public_samples=1797"], r"public_samples=1797 is not possible\. Accepted: fewer than the dataset's 1797"),
        (["public_samples=-1"], r"public_samples=-1"),
    ],
)
def test_impossible_public_sets_are_named(overrides: list[str], message: str, config) -> None:
    with pytest.raises(UserError, match=message):
        open_run(config(*overrides).to_json())


def test_fedmd_needs_a_public_set(config) -> None:
    with pytest.raises(UserError, match=r"alignment_samples=50 public samples .* public_samples=0\. Accepted: public_"):
        build(config("strategy=fedmd").strategy, "strategy").check(three_parameters(), config())


def test_fedgkt_without_kl_is_local(federate) -> None:
    nothing = personal(federate("strategy=fedgkt", "strategy.lambda_kl=0"))
    assert nothing.equals(personal(federate("strategy=local")))
    assert not nothing.equals(personal(federate("strategy=fedgkt")))


def test_fedgkt_sends_knowledge_up_and_soft_labels_down(federate) -> None:
    traffic = federate("strategy=fedgkt").traffic
    kinds = {way: set(traffic[traffic.direction == way].kind) for way in ("up", "down")}
    assert kinds["up"] == {"representations", "soft_labels", "labels", "metrics"}
    assert kinds["down"] == {"soft_labels", "control"}


def test_fedgkt_learns_from_the_servers_answers_by_hand() -> None:
    """T = 1, lambda 0.4, q = (0.8, 0.2): the logits' gradient is (p - 1) + 0.4 (p - 0.8), p = 1/2."""
    client = build(compose_config(["strategy=fedgkt"]).strategy | {"temperature": 1.0, "lambda_kl": 0.4}, "strategy")
    received = {"control/cut": torch.tensor(1), "soft_labels/q": torch.tensor([[0.8, 0.2]])}
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], received=received))
    pull = 2 * (0.5 + 0.4 * 0.3)
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([pull, -pull])
    assert update.send["representations/h"].tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [
        ("fedmd", "alignment_samples", 0),
        ("fedmd", "digest_epochs", -1),
        ("fedgkt", "temperature", 0.0),
        ("fedgkt", "cut", 9),
    ],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float, config) -> None:
    spec = compose_config([f"strategy={strategy}"]).strategy | {key: value}
    with pytest.raises(UserError, match=rf"strategy\.{key}="):
        build(spec, "strategy").check(three_parameters(), config())
