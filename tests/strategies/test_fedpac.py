"""FedPAC: a client's step and the server's program by hand, FedRep as its limit."""

import math

import pytest
import torch
from by_hand import Half, federation, from_yaml, sigmoid
from federations import metric_files, personal
from toys import make_task, three_parameters

from fedpers.algorithm import Task
from fedpers.errors import UserError
from strategies.fedpac import HEAD, MOMENTS, VARIANCE, FedPAC, mixing_weights
from strategies.parts.prototypes import CLASS, COUNT, GLOBAL, MEAN

CENTROID = {GLOBAL: torch.tensor([[1.0]]), CLASS: torch.tensor([0])}
MIXED = {HEAD + "head.weight": torch.tensor([[0.5], [-0.5]])}


def pac(lambda_align: float = 0.5, head_epochs: int = 1, mix_heads: bool = True) -> FedPAC:
    return FedPAC(lambda_align=lambda_align, head_epochs=head_epochs, mix_heads=mix_heads)


def given(inputs: list[list[float]], labels: list[int], **changes: object) -> Task:
    """A task whose head is personal, as the model says."""
    return make_task(three_parameters(2.0), pac(), inputs, labels, **changes)


def test_a_step_by_hand() -> None:
    """The head to (1, -1) as FedRep's; the scale by 2 (1 - p), p = sigmoid(4), and by -0.5 * 2 (2 - 1)."""
    update = pac().train(given([[1.0]], [0], received=CENTROID))
    scale = 2 + 2 * (1 - sigmoid(4)) - 1
    assert {key: w.flatten().tolist() for key, w in update.keep.items()} == {"head.weight": pytest.approx([1, -1])}
    assert update.metrics["loss"] == pytest.approx(-math.log(sigmoid(4)) + 0.5, abs=1e-6)
    assert set(update.send) == {"base.weight", COUNT, MEAN, MOMENTS, VARIANCE, HEAD + "head.weight"}
    assert update.send["base.weight"].tolist() == pytest.approx([scale])
    assert update.send[HEAD + "head.weight"].flatten().tolist() == pytest.approx([1, -1])
    assert update.send[MEAN].tolist() == [pytest.approx([scale])]  # after training
    assert update.send[MOMENTS].tolist() == [[2], [0]]  # before
    assert update.send[VARIANCE].tolist() == 0


def test_statistics_by_hand() -> None:
    """h = 2 and 4 in two classes: M = (1, 2), V = (4 + 16) / 2 - 1 - 4, over two samples."""
    sent = pac().train(given([[1.0], [2.0]], [0, 1])).send
    assert sent[COUNT].tolist() == [1, 1]
    assert sent[MOMENTS].tolist() == [[1], [2]]
    assert sent[VARIANCE].tolist() == 2.5


def test_a_mixed_head_takes_the_place_of_ones_own() -> None:
    update = pac(head_epochs=0).train(given([[1.0]], [0], received=MIXED))
    assert update.keep["head.weight"].flatten().tolist() == [0.5, -0.5]
    task = given([[1.0]], [0], received=MIXED)
    assert pac().personalize(task).get_parameter("head.weight").flatten().tolist() == [0.5, -0.5]
    assert pac().personalize(given([[1.0]], [0])).get_parameter("head.weight").flatten().tolist() == [0, 0]


def weights(moments: list[list[float]], variances: list[float], k: int = 0) -> list[float]:
    m = torch.tensor(moments, dtype=torch.float64)
    alpha = mixing_weights(m @ m.T, torch.tensor(variances, dtype=torch.float64), k)
    assert alpha.min() >= 0
    assert alpha.sum().item() == pytest.approx(1)
    return [pytest.approx(a, abs=1e-8) for a in alpha.tolist()]


def test_program_by_hand() -> None:
    """Of two clients a squared distance b apart, one's own gets (v_2 + b) / (v_1 + v_2 + b)."""
    assert weights([[0.0], [2.0]], [1.0, 3.0]) == [7 / 8, 1 / 8]
    assert weights([[0.0], [2.0]], [1.0, 3.0], k=1) == [3 / 8, 5 / 8]
    assert weights([[5.0, 1.0]] * 3, [1.0, 2.0, 4.0]) == [4 / 7, 2 / 7, 1 / 7]  # no bias: by 1 / v
    assert weights([[0.0], [1.0], [3.0]], [1.0] * 3) == [2 / 3, 1 / 3, 0]  # a negative weight is cut off
    assert weights([[0.0], [1.0], [-1.0]], [1.0] * 3) == [1 / 3] * 3  # biases cancel


def test_identical_clients_share_evenly_and_strangers_nothing() -> None:
    for variance in (0.0, 1e-6, 1.0):
        assert weights([[1.0, 2.0]] * 4, [variance] * 4) == [1 / 4] * 4
    # samples of one class each: the first two clients hold the same, the third another
    assert weights([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [1e-10] * 3) == [1 / 2, 1 / 2, 0]
    assert weights([[3.0]], [0.0]) == [1]


@pytest.mark.parametrize("seed", range(5))
def test_program_is_solved(seed: int) -> None:
    """No exchange of weight between two clients lowers the objective."""
    generator = torch.Generator().manual_seed(seed)
    m = torch.randn(30, 12, generator=generator, dtype=torch.float64)
    v = torch.rand(30, generator=generator, dtype=torch.float64)
    alpha = mixing_weights(m @ m.T, v, 3)
    slope = (m - m[3]) @ ((m - m[3]).T @ alpha) + v * alpha
    assert slope[alpha > 0].max().item() == pytest.approx(slope.min().item(), rel=1e-5)


def reply(scale: float, head: float, count: list[int], moments: list[list[float]], spread: float = 0.0) -> dict:
    rows = torch.full((sum(c > 0 for c in count), 1), scale)
    sent = {"base.weight": torch.tensor([scale]), COUNT: torch.tensor(count), MEAN: rows}
    return sent | {MOMENTS: torch.tensor(moments), VARIANCE: torch.tensor(spread), HEAD + "w": torch.tensor([head])}


def test_server_by_hand() -> None:
    server, sizes = Half(pac().server(federation(num_clients=4))), {0: 6, 2: 2, 3: 6}
    assert server.send_to(0, 1) == {}
    far = reply(7.0, 8.0, [0, 2], [[0.0], [2.0]], 3.0)
    mean = server.aggregate(1, {0: reply(4.0, 0.0, [6, 0], [[0.0], [0.0]], 1.0), 2: far}, sizes)
    assert {key: w.tolist() for key, w in mean.items()} == {"base.weight": [4.75]}  # (6 * 4 + 2 * 7) / 8
    assert server.send_to(0, 2)[HEAD + "w"].tolist() == [1]  # 7/8 * 0 + 1/8 * 8
    assert server.send_to(2, 2)[HEAD + "w"].tolist() == [5]  # 3/8 * 0 + 5/8 * 8
    sent = server.send_to(1, 2)
    assert {key: w.tolist() for key, w in sent.items()} == {GLOBAL: [[4], [7]], CLASS: [0, 1]}
    server.aggregate(2, {0: reply(4.0, 4.0, [6, 0], [[0.0], [0.0]], 1.0)}, sizes)  # client 2's numbers stand
    assert server.send_to(2, 3)[HEAD + "w"].tolist() == [6.5]
    server.aggregate(3, {3: reply(4.0, math.nan, [6, 0], [[0.0], [0.0]], 1.0)}, sizes)
    assert server.send_to(2, 4)[HEAD + "w"].tolist() == [6.5]
    assert HEAD + "w" not in server.send_to(3, 4)


def test_without_alignment_and_mixing_is_fedrep(federate) -> None:
    common = ["strategy.head_epochs=2", "participation=0.5"]
    rep = federate("strategy=fedrep", *common).scores
    alone = ["strategy=fedpac", "strategy.lambda_align=0", "strategy.mix_heads=false"]
    assert federate(*alone, *common).scores.equals(rep)
    for changed in ("strategy.lambda_align=1", "strategy.mix_heads=true"):
        assert not federate(*alone, *common, changed).scores.equals(rep)


def test_same_bits_twice_with_very_few_samples(federate) -> None:
    few = ["strategy=fedpac", "participation=0.5", "partition.max_samples=16", "partition.min_samples=3", "unseen=0.25"]
    run = federate(*few)
    assert metric_files(federate(*few)) == metric_files(run)
    assert personal(run).loss.notna().all()
    assert set(run.traffic.kind) == {"weights", "heads", "prototypes", "labels", "metrics", "control"}


@pytest.mark.parametrize(("key", "value"), [("lambda_align", -1.0), ("head_epochs", -1)])
def test_impossible_value_is_named(key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
        from_yaml("fedpac", **{key: value})
