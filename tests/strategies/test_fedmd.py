"""FedMD: by hand, what it draws and sends, and Local as its limit."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from by_hand import from_yaml, sigmoid
from federations import chosen, personal
from toys import make_task, three_parameters

from fedpers.config.build import build
from fedpers.errors import UserError
from fedpers.training import Split
from strategies.fedmd import CONSENSUS, LOGITS, ROUND, FedMD


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
    run = federate(*chosen("fedmd"))
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
    nothing = personal(federate(*chosen("fedmd"), "strategy.digest_epochs=0"))
    assert nothing.equals(personal(federate("strategy=local", "public_samples=20")))
    assert not nothing.equals(personal(federate(*chosen("fedmd"))))


def test_fedmd_needs_a_public_set(config) -> None:
    with pytest.raises(UserError, match=r"alignment_samples=50 public samples .* public_samples=0\. Accepted: public_"):
        build(config("strategy=fedmd").strategy, "strategy").check(three_parameters(), config())


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("fedmd", "alignment_samples", 0), ("fedmd", "digest_epochs", -1)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float, config) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}="):
        from_yaml(strategy, **{key: value}).check(three_parameters(), config())
