"""FML: by hand, and Local and FedAvg as its ends."""

import pytest
from by_hand import from_yaml, numbers, own, sigmoid
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fml import FML


def test_fml_by_hand() -> None:
    """w: logits (0, 0), p = 1/2; v: scale 2, head (1/2, -1/2), logits (1, -1), q = sigmoid(2)."""
    client = FML(alpha=0.25, beta=0.75)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(2.0, 0.5, -0.5)))
    p, q = 0.5, sigmoid(2)
    shared = 0.75 * (p - 1) + 0.25 * (p - q)
    mine = 0.25 * (q - 1) + 0.75 * (q - p)
    assert numbers(update.send) == pytest.approx([2, -2 * shared, 2 * shared])
    assert numbers(update.keep, "personal/") == pytest.approx([2 - mine, 0.5 - 2 * mine, -0.5 + 2 * mine], abs=1e-6)


@pytest.mark.parametrize(("key", "limit", "model"), [("alpha", "local", "personal"), ("beta", "fedavg", "global")])
def test_fml_at_its_ends(key: str, limit: str, model: str, federate) -> None:
    taught, alone = (
        run.scores[run.scores.model == model].reset_index(drop=True)
        for run in (federate("strategy=fml", f"strategy.{key}=1"), federate(f"strategy={limit}"))
    )
    assert taught.drop(columns="loss").equals(alone.drop(columns="loss"))
    assert taught.loss.to_numpy() == pytest.approx(alone.loss.to_numpy(), abs=1e-6)


def test_fml_uses_its_own_model_or_the_shared_one() -> None:
    client = FML(alpha=0.5, beta=0.5)
    model = client.personalize(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(3.0, 4.0, 5.0)))
    assert numbers(model.tensors()) == [3, 4, 5]
    assert numbers(client.personalize(make_task(three_parameters(2.0), client, [[1.0]], [0])).tensors()) == [2, 0, 0]


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [("fml", "alpha", 1.5), ("fml", "beta", -0.5)],
)
def test_impossible_value_is_named(strategy: str, key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml(strategy, **{key: value})
