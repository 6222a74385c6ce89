"""pFedMe: by hand, and the model that it uses."""

from types import SimpleNamespace

import pytest
from by_hand import from_yaml, numbers, own, sigmoid
from federations import personal
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.pfedme import PFedMe

# x = 1 with label 0, scale 2, head (0, 0), lr 1: the cross-entropy's gradient is (-1, 1) for the head, 0 for the scale.


def test_pfedme_by_hand() -> None:
    client = PFedMe(lambda_prox=0.5, inner_steps=2, inner_lr=1.0)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0]))
    # theta: the head to (1, -1), then by 2 (1 - sigmoid(4)) - 0.5; the scale by 2 (1 - sigmoid(4))
    r = 2 * (1 - sigmoid(4))
    assert numbers(update.keep, "personal/") == pytest.approx([2 + r, 0.5 + r, -0.5 - r])
    # w: by lambda (theta - w)
    assert numbers(update.send) == pytest.approx([2 + 0.5 * r, 0.5 * (0.5 + r), -0.5 * (0.5 + r)])


def test_pfedme_uses_theta(federate) -> None:
    client = PFedMe(lambda_prox=0.5, inner_steps=2, inner_lr=1.0)
    model = client.personalize(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(3.0, 4.0, 5.0)))
    assert numbers(model.tensors()) == [3, 4, 5]
    table = federate("strategy=pfedme").scores
    shared = table[table.model == "global"].reset_index(drop=True)
    assert (personal(SimpleNamespace(scores=table)).loss != shared.loss).all()


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("pfedme", "inner_steps", 0)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml(strategy, **{key: value})
