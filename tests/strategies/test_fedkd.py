"""FedKD: a step by hand, its energy, and Local and FedAvg as its limits."""

import math

import pytest
from by_hand import from_yaml, numbers, own, sigmoid
from federations import personal
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fedkd import PROJECTION, FedKD


def kd(**changes: float) -> FedKD:
    values = {"lambda_kd": 0.0, "lambda_hidden": 0.0, "min_loss": 0.0, "energy_start": 1.0, "energy_end": 1.0}
    return FedKD(**(values | changes))


def test_a_step_by_hand() -> None:
    """w: scale 2, logits (0, 0), p = 1/2; v: scale 3, head (1/2, -1/2), logits (3/2, -3/2), q = sigmoid(3)."""
    client = kd(lambda_kd=0.5, lambda_hidden=0.1)
    update = client.train(make_task(three_parameters(2.0), client, [[1.0]], [0], state=own(3.0, 0.5, -0.5)))
    p, q = 0.5, sigmoid(3)
    c = math.log(2) - math.log(q)
    pull = 0.1 * 2 * (3 - 2) / c  # of the representations 3 and 2 towards each other
    shared = (p - 1) + 0.5 * (p - q) / c
    mine = (q - 1) + 0.5 * (q - p) / c
    assert numbers(update.send) == pytest.approx([2 + pull, -2 * shared, 2 * shared])
    assert numbers(update.keep, "personal/") == pytest.approx(
        [3 - mine - pull, 0.5 - 3 * mine, -0.5 + 3 * mine], abs=1e-6
    )
    assert update.keep[PROJECTION].item() == pytest.approx(1 + 2 * pull)
    divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    divergence += q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    assert update.metrics["loss"] == pytest.approx(c + (0.5 * divergence + 0.1) / c, abs=1e-6)


@pytest.mark.parametrize("floor", [0.01, 0.1])
def test_models_without_mistakes_are_pulled_no_harder_than_by_the_floor(floor: float) -> None:
    """Both are sure: the sum of their losses is about e^-40; representations are 2 and 3."""
    client = kd(lambda_hidden=0.001, min_loss=floor)
    task = make_task(three_parameters(2.0, (20.0, -20.0)), client, [[1.0]], [0], state=own(3.0, 20.0, -20.0))
    update = client.train(task)
    assert update.send["base.weight"].item() == pytest.approx(2 + 0.001 * 2 / floor)
    assert update.keep["personal/base.weight"].item() == pytest.approx(3 - 0.001 * 2 / floor)


def test_energy_grows_from_round_to_round(monkeypatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr("strategies.fedkd.compress", lambda after, before, energy: seen.append(energy) or after)
    client = kd(energy_start=0.5, energy_end=0.9)
    for round in (1, 2, 4):
        client.train(make_task(three_parameters(), client, [[1.0]], [0], round=round, rounds=4))
    assert seen == pytest.approx([0.6, 0.7, 0.9])


def test_limits_are_local_and_fedavg(federate) -> None:
    apart = ("strategy.lambda_kd=0", "strategy.lambda_hidden=0")
    whole = ("strategy.energy_start=1", "strategy.energy_end=1")
    run, average = federate("strategy=fedkd", *apart, *whole).scores, federate("strategy=fedavg").scores
    shared = [table[table.model == "global"].reset_index(drop=True) for table in (run, average)]
    assert shared[0].equals(shared[1])
    local = federate("strategy=local")
    assert personal(federate("strategy=fedkd", *apart)).equals(personal(local))
    assert not personal(federate("strategy=fedkd")).equals(personal(local))


def test_low_rank_comes_near_fedavg_and_costs_less(federate) -> None:
    """Nearly all of the energy: the server adds up what clients have cut apart, and weighs clients as FedAvg does."""
    apart = ("strategy=fedkd", "strategy.lambda_kd=0", "strategy.lambda_hidden=0", "model.hidden=[64,48]")
    part, near, whole = (
        federate(*apart, f"strategy.energy_start={energy}", f"strategy.energy_end={energy}")
        for energy in (0.8, 0.99999, 1)
    )
    losses = [run.scores.query("model == 'global'").loss.to_numpy() for run in (part, near, whole)]
    assert losses[1] == pytest.approx(losses[2], abs=1e-3)
    assert losses[0] != pytest.approx(losses[2], abs=1e-3)
    up, down = (
        [run.traffic.query(f"direction == '{way}' and kind == 'weights'").bytes.sum() for run in (part, near, whole)]
        for way in ("up", "down")
    )
    assert up[0] < up[1] < up[2]
    assert down[0] == down[2]


@pytest.mark.parametrize(
    ("key", "value"),
    [("lambda_kd", -1.0), ("lambda_hidden", -1.0), ("min_loss", -1.0), ("energy_start", 0.0), ("energy_end", 1.1)],
)
def test_impossible_value_is_named(key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}"):
        from_yaml("fedkd", **{key: value})
