"""FD: class means, targets, loss and gradient by hand, and what never happens."""

import math

import pytest
import torch
from by_hand import LOG2, LOG3, Half, federation, from_yaml
from federations import record
from toys import make_task, three_parameters

from fedpers.algorithm import State
from fedpers.errors import UserError
from fedpers.training import Batch, Split, cross_entropy
from fedpers.wire import records
from strategies.fd import CLASS, COUNT, FD, MEAN, TARGET, average_outputs


def server(num_classes: int = 2, lambda_kd: float = 0.1) -> Half:
    return Half(FD(lambda_kd).server(federation(num_clients=3, num_classes=num_classes)))


def answer(mean: list[list[float]], count: list[int]) -> State:
    return {MEAN: torch.tensor(mean), COUNT: torch.tensor(count)}


def sent_to(half: Half, client: int) -> dict[int, list[float]]:
    """Return the targets that a client is sent, by class."""
    state = half.send_to(client, 2)
    return {c: row.tolist() for c, row in zip(state[CLASS].tolist(), state[TARGET], strict=True)} if state else {}


def test_class_means_by_hand() -> None:
    # Scale 1, head (0, ln 3): softmax is (1/4, 3/4) at x = 1, (1/2, 1/2) at x = 0, (3/4, 1/4) at x = -1.
    model = three_parameters(weights=(0.0, LOG3)).train()
    data = Split(torch.tensor([[1.0], [0.0], [-1.0]]), torch.tensor([1, 0, 1]))
    mean, count = average_outputs(model, data)
    torch.testing.assert_close(mean, torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    assert count.tolist() == [1, 2]
    mean, count = average_outputs(model, Split(torch.tensor([[1.0], [0.0]]), torch.tensor([1, 1])))
    torch.testing.assert_close(mean, torch.tensor([[0.375, 0.625]]))  # class 0 is absent: no row
    assert count.tolist() == [0, 2]


def test_target_excludes_ones_own() -> None:
    half = server()
    answers = [[[0.5, 0.5], [0.25, 0.75]], [[0.75, 0.25], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]]
    sizes = [[1, 1], [100, 1], [1, 7]]  # which weigh nothing
    half.aggregate(1, {k: answer(answers[k], sizes[k]) for k in (2, 0, 1)})
    assert sent_to(half, 0) == {0: [0.875, 0.125], 1: [0.25, 0.75]}
    assert sent_to(half, 1) == {0: [0.75, 0.25], 1: [0.375, 0.625]}
    assert sent_to(half, 2) == {0: [0.625, 0.375], 1: [0.125, 0.875]}


def test_a_class_that_nobody_else_holds_has_no_target() -> None:
    half = server(num_classes=3)
    half.aggregate(
        1,
        {
            0: answer([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]], [4, 0, 1]),
            1: answer([[0.0, 1.0, 0.0]], [0, 2, 0]),
            2: answer([[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]], [1, 1, 0]),
        },
    )
    assert sent_to(half, 0) == {0: [0.25, 0.75, 0.0], 1: [0.0, 0.75, 0.25]}  # class 2 is client 0's alone
    assert sent_to(half, 1) == {0: [0.375, 0.625, 0.0], 1: [0.0, 0.5, 0.5], 2: [0.0, 0.25, 0.75]}


def test_one_client_alone_is_never_taught() -> None:
    half = server()
    assert half.send_to(0, 1) == {}
    half.aggregate(1, {0: answer([[0.5, 0.5]], [2, 0])})
    assert half.send_to(0, 2) == {}
    assert sent_to(half, 1) == {0: [0.5, 0.5]}
    assert half.send_to(1, 1, "score") == {}  # nobody is scored by targets


def test_a_client_that_is_away_keeps_serving_its_old_averages() -> None:
    half = server()
    half.aggregate(1, {0: answer([[0.5, 0.5]], [2, 0]), 1: answer([[1.0, 0.0]], [2, 0])})
    half.aggregate(2, {1: answer([[0.75, 0.25]], [2, 0])})
    assert sent_to(half, 1) == {0: [0.5, 0.5]}
    assert sent_to(half, 2) == {0: [0.625, 0.375]}


RECEIVED = {TARGET: torch.tensor([[0.25, 0.75]]), CLASS: torch.tensor([0])}


def test_loss_and_gradient_by_hand() -> None:
    # x = 1, scale 1, head (0, 0): f = (0, 0), CE = ln 2, dCE/df = (-1/2, 1/2) for label 0, the opposite for label 1.
    # Target (1/4, 3/4) of class 0: KL = 1/4 ln(1/2) + 3/4 ln(3/2) = 3/4 ln 3 - ln 2, dKL/df = (1/4, -1/4).
    # Class 1 has no target and no term. λ = 2, mean over the two samples.
    model = three_parameters()
    batch = Batch(torch.tensor([[1.0], [1.0]]), torch.tensor([0, 1]), torch.tensor([0, 1]))
    loss = FD(2.0).client_loss(RECEIVED)(model, batch)
    assert loss.item() == pytest.approx(LOG2 + 2 * (0.75 * LOG3 - LOG2) / 2)
    loss.backward()
    # the cross-entropies' gradients cancel out; 2 (1/4, -1/4) / 2 remains
    assert model.get_parameter("head.weight").grad.flatten().tolist() == pytest.approx([0.25, -0.25])


def test_a_class_without_target_is_learnt_from_its_labels_alone() -> None:
    gradients = []
    for objective in (FD(2.0).client_loss(RECEIVED), cross_entropy):
        model = three_parameters(1.0, (0.3, -0.2))
        loss = objective(model, Batch(torch.tensor([[1.0]]), torch.tensor([1]), torch.tensor([0])))
        loss.backward()
        gradients.append((loss.item(), *(parameter.grad.flatten().tolist() for parameter in model.parameters())))
    assert gradients[0] == gradients[1]


def test_train_answers_after_training_and_keeps_the_model() -> None:
    # One step with lr 1 and λ = 1: head -= (-1/2 + 1/4, 1/2 - 1/4), so head = (1/4, -1/4); softmax at x = 1 follows.
    client, model = FD(1.0), three_parameters()
    update = client.train(make_task(model, client, [[1.0]], [0], received=RECEIVED))
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([0.25, -0.25])
    answer = 1 / (1 + math.exp(-0.5))
    assert update.send[MEAN].tolist() == [pytest.approx([answer, 1 - answer])]
    assert update.send[COUNT].tolist() == [1, 0]
    assert set(update.send) == {MEAN, COUNT}


def test_lambda_zero_is_local(federate) -> None:
    partly = "participation=0.5"
    nothing = federate("strategy=fd", "strategy.lambda_kd=0", partly)
    assert nothing.scores.equals(federate("strategy=local", partly).scores)
    assert "soft_labels" not in set(nothing.traffic[nothing.traffic.direction == "down"].kind)
    assert not nothing.scores.equals(federate("strategy=fd", "strategy.lambda_kd=1", partly).scores)


def test_nothing_but_averages_leaves_a_client(federate) -> None:
    recorder, run = record(federate, "strategy=fd")
    for answer in recorder.replies:
        assert set(answer.content.array_records[records.ARRAYS]) == {MEAN, COUNT}
    traffic = run.traffic[run.traffic.phase == "train"]
    assert set(traffic[traffic.direction == "up"].kind) == {"soft_labels", "labels", "metrics"}
    assert set(traffic[traffic.direction == "down"].kind) == {"soft_labels", "labels", "control"}
    assert set(run.scores.model) == {"personal"}


def test_what_is_sent_does_not_grow_with_the_samples(federate) -> None:
    def size(samples: int) -> int:
        traffic = federate("strategy=fd", f"partition.max_samples={samples}").traffic
        return int(traffic[(traffic.kind == "soft_labels") & (traffic.direction == "up")].bytes.max())

    assert size(240) == size(480)


@pytest.mark.parametrize("value", [-1, float("nan"), "much"])
def test_impossible_value_is_named(value: object) -> None:
    with pytest.raises(UserError, match=r"strategy\.lambda_kd"):
        from_yaml("fd", lambda_kd=value)
