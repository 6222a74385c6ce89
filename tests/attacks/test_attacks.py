"""Attackers: who they are, what they send, how they are counted, and that a rule holds against them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from federations import record
from toys import make_task, three_parameters

from fedpers.assembly import build_attack
from fedpers.attacks import Attack
from fedpers.config.compose import compose_config, group_choices
from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.results import Run
from fedpers.wire import records
from strategies.fedavg import FedAvg

Federate = Callable[..., Run]
ATTACKS = [name for name in group_choices("attack") if name != "none"]


def attack(name: str, **changes: object) -> Attack:
    """Build an attack as the command line does."""
    made = build_attack(compose_config([f"attack={name}", *(f"attack.{key}={each}" for key, each in changes.items())]))
    assert made is not None
    return made


def test_attackers_are_drawn_once_from_those_who_may_train() -> None:
    config = Config(attack={"share": 0.3}, unseen=0.2)
    found = config.attackers(20)
    assert len(found) == round(0.3 * 16)
    assert found.isdisjoint(config.unseen_clients(20))
    assert found == config.attackers(20)
    assert found != Config(attack={"share": 0.3}, unseen=0.2, seed=1).attackers(20)
    assert len(Config(attack={"share": 0.01}).attackers(20)) == 1
    assert Config().attackers(20) == frozenset()


SENT = {"w": torch.tensor([3.0, 5.0]), "prototypes/mean": torch.tensor([2.0]), "labels/count": torch.tensor([4])}
POISONED = {
    "sign_flip": {"w": [-1.0, -3.0], "prototypes/mean": [-2.0]},
    "scaled": {"w": [21.0, 41.0], "prototypes/mean": [20.0]},
    "not_a_number": {"w": [np.nan, np.nan], "prototypes/mean": [np.nan]},
    "label_flip": {"w": [3.0, 5.0], "prototypes/mean": [2.0]},
}


@pytest.mark.parametrize("name", POISONED)
def test_what_is_sent_by_hand(name: str) -> None:
    """A model's entry is poisoned in how far it has moved, other tensors as they are; counts are left alone."""
    task = make_task(three_parameters(), FedAvg(), [[1.0]], [0], received={"w": torch.tensor([1.0, 1.0])})
    found = attack(name).after(task, SENT)
    for key, values in POISONED[name].items():
        np.testing.assert_array_equal(found[key].numpy(), values)
    assert found["labels/count"].tolist() == [4]
    assert SENT["w"].tolist() == [3.0, 5.0]


def test_noise_is_around_what_was_received_and_the_clients_own() -> None:
    task = make_task(three_parameters(), FedAvg(), [[1.0]], [0], received={"w": torch.full((4000,), 7.0)})
    found = attack("gaussian", std=0.5).after(task, {"w": torch.zeros(4000)})["w"]
    assert found.mean().item() == pytest.approx(7, abs=0.05)
    assert found.std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(found, attack("gaussian", std=0.5).after(task, {"w": torch.ones(4000)})["w"])


def test_labels_are_flipped_for_training_alone() -> None:
    task = make_task(three_parameters(), FedAvg(), [[1.0], [2.0]], [0, 1])
    poisoned = attack("label_flip").before(task)
    assert poisoned.data.train.labels.tolist() == [1, 0]
    assert poisoned.data.test.labels.tolist() == task.data.test.labels.tolist() == [0, 1]
    assert task.data.train.labels.tolist() == [0, 1]


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("strategy", ["fedper", "fedd2s", "fedproto"])
def test_only_attackers_poison_and_only_the_others_count(name: str, strategy: str, federate: Federate) -> None:
    run = federate(f"strategy={strategy}", f"attack={name}", "attack.share=0.25", "rounds=1")
    (attacker,) = run.attackers
    last = run.summary["last"]["test"]["personal"]
    assert (last["num_clients"], last["of_clients"]) == (3, 3)
    assert run.summary["attackers"]["test"]["personal"]["num_clients"] == 1
    of_others = run.scores.query("model == 'personal' and split == 'test' and client != @attacker")
    assert last["mean"] == pytest.approx(of_others.accuracy.mean())
    assert attacker not in run.curve("personal", "test").columns
    errors = run.traffic[run.traffic.kind == "error"]
    assert errors.client.to_list() == ([attacker] if name == "not_a_number" else [])


def test_others_send_what_they_would_have_sent(federate: Federate) -> None:
    sent = []
    for overrides in ([], ["attack=sign_flip", "attack.share=0.25"]):
        recorder, run = record(federate, "strategy=fedavg", "rounds=1", *overrides)
        sent.append({reply.metadata.src_node_id - 1: reply.content for reply in recorder.replies})
    (attacker,) = run.attackers
    for client in range(4):
        before, after = (records.view_arrays(each[client]) for each in sent)
        same = all(torch.equal(before[key], after[key]) for key in before)
        assert same == (client != attacker)


def test_a_median_holds_where_the_mean_does_not(federate: Federate) -> None:
    base = ("strategy=fedavg", "partition=iid", "partition.num_clients=10", "rounds=10", "lr=0.5", "model.hidden=[32]")
    poison = ("attack=sign_flip", "attack.share=0.1", "attack.factor=20")
    means = [
        federate(*base, *more).summary["last"]["test"]["personal"]["mean"]
        for more in ((), poison, (*poison, "aggregation=median"))
    ]
    assert means[1] < means[0] - 0.2
    assert means[2] > means[0] - 0.15


@pytest.mark.parametrize(
    ("name", "key", "value", "accepted"),
    [
        ("label_flip", "share", 0, "a share in (0, 1)"),
        ("scaled", "share", 1, "a share in (0, 1)"),
        ("sign_flip", "factor", 0, "above 0"),
        ("scaled", "factor", -1, "above 0"),
        ("gaussian", "std", 0, "above 0"),
    ],
)
def test_impossible_values_are_named(name: str, key: str, value: float, accepted: str) -> None:
    with pytest.raises(UserError) as found:
        attack(name, **{key: value})
    assert str(found.value) == f"attack.{key}={float(value)} is not possible. Accepted: {accepted}"
