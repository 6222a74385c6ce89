"""FedGKT: by hand, what it sends, and Local as its limit."""

import pytest
import torch
from by_hand import from_yaml
from federations import personal
from toys import make_task, three_parameters

from fedpers.errors import UserError


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
    client = from_yaml("fedgkt", temperature=1.0, lambda_kl=0.4)
    received = {"control/cut": torch.tensor(1), "soft_labels/q": torch.tensor([[0.8, 0.2]])}
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], received=received))
    pull = 2 * (0.5 + 0.4 * 0.3)
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([pull, -pull])
    assert update.send["representations/h"].tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("fedgkt", "temperature", 0.0), ("fedgkt", "cut", 9)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float, config) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}="):
        from_yaml(strategy, **{key: value}).check(three_parameters(), config())
