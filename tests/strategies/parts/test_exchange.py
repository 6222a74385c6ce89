"""The exchange behind a cut: what clients send of it, the losses of client and server, and soft labels, by hand."""

import math

import pytest
import torch
from by_hand import LOG2, LOG3
from fedd2s_toys import ONE, head_with
from toys import three_parameters

from fedpers.device import CPU
from fedpers.errors import UserError
from fedpers.training import Batch
from strategies.parts.exchange import SENT, HeadTraining, Knowledge, Teacher, View, pooled, projection_matrix, represent

BATCH = Batch(ONE.inputs, ONE.labels, torch.tensor([0]))
VIEW = View(pool=4, projection=None, temperature=1.0, seed=0)


def test_client_loss_and_gradient_by_hand() -> None:
    # x = 1, label 0, scale 1, model head (0, 0): f = (0, 0), CE = ln 2, dCE/df = (-1/2, 1/2), so dCE/dscale = 0.
    # Server head (0, ln 3) on h = 1: g = (0, ln 3), softmax (1/4, 3/4), CE = ln 4, dCE/dg = (-3/4, 3/4),
    #   dCE/dh = -3/4 * 0 + 3/4 * ln 3 = dCE/dscale (x = 1).
    # Soft label q = (1/4, 3/4), T = 1: KL(q || (1/2, 1/2)) = 1/4 ln(1/2) + 3/4 ln(3/2) = 3/4 ln 3 - ln 2,
    #   dKL/df = (1/2, 1/2) - q = (1/4, -1/4).
    model = three_parameters()
    q = torch.tensor([[0.25, 0.75]])
    teacher = Teacher(VIEW, 1, head_with((0.0, LOG3)), q, lambda_ce=2.0, lambda_kl=0.5)
    loss = teacher.client_loss(model, BATCH)
    assert loss.item() == pytest.approx(LOG2 + 2 * 2 * LOG2 + 0.5 * (0.75 * LOG3 - LOG2))
    loss.backward()
    # the head's weight times h = 1: -1/2 + 0.5 * 1/4, and the opposite
    assert model.get_parameter("head.weight").grad.flatten().tolist() == pytest.approx([-0.375, 0.375])
    assert float(model.get_parameter("base.weight").grad) == pytest.approx(2 * 0.75 * LOG3)


def test_kl_on_head_reaches_no_dropped_stage() -> None:
    q = torch.tensor([[0.5, 0.5]])
    without = three_parameters()
    Teacher(VIEW, 1, None, None, lambda_ce=0.0, lambda_kl=0.0).client_loss(without, BATCH).backward()
    model = three_parameters()
    teacher = Teacher(VIEW, 1, head_with((0.0, LOG3)), q, lambda_ce=0.0, lambda_kl=1.0, kl_on="head")
    teacher.client_loss(model, BATCH).backward()
    dropped = [m.get_parameter("head.weight").grad.tolist() for m in (model, without)]
    assert dropped[0] == dropped[1]
    # dKL/dg = (1/4, 3/4) - (1/2, 1/2); times the head's weights (0, ln 3)
    assert float(model.get_parameter("base.weight").grad) == pytest.approx(0.25 * LOG3)


def test_personal_stage_does_not_move_the_sent_representation() -> None:
    """What is sent depends on the stages before the cut alone, but for the soft labels."""
    sent = [VIEW.observe(three_parameters(2.0, weights), ONE, 1)[0] for weights in ((0.0, 0.0), (3.0, -3.0))]
    assert sent[0].tolist() == sent[1].tolist() == [[2.0]]


def test_soft_labels_are_softened_by_the_temperature() -> None:
    """Logits (0, 2 ln 3): softmax at T = 2 is (1/4, 3/4)."""
    h, p = View(4, None, 2.0, 0).observe(three_parameters(2.0, (0.0, LOG3)), ONE, 1)
    assert h.tolist() == [[2.0]]
    torch.testing.assert_close(p, torch.tensor([[0.25, 0.75]]))


def test_agreement_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    q = torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9], [0.0, 1.0]])
    assert Teacher(VIEW, 1, None, q, 0.0, 0.0).agreement(p) == 0.75
    assert math.isnan(Teacher(VIEW, 1, None, None, 0.0, 0.0).agreement(p))


def test_server_loss_by_hand() -> None:
    # A head that answers (0, 0): CE = ln 2; p = (1/4, 3/4): KL = 3/4 ln 3 - ln 2; μ = 2, T = 1. The first row stands
    # for 1 sample, the second, with p = (1/2, 1/2) and KL = 0, for 3: weights 1/2 and 3/2, mean over the two rows.
    head = head_with((0.0, 0.0)).requires_grad_(True)
    knowledge = Knowledge(
        torch.ones(2, 1),
        torch.tensor([[0.25, 0.75], [0.5, 0.5]]),
        torch.tensor([0, 1]),
        torch.tensor([1, 3]),
    )
    training = HeadTraining(mu=2.0, temperature=1.0, epochs=1, lr=1e-9, batch_size=64, device=CPU)
    loss = training.fit(head, knowledge, torch.Generator().manual_seed(0))
    assert loss == pytest.approx(0.5 * (0.5 * (LOG2 + 2 * (0.75 * LOG3 - LOG2)) + 1.5 * LOG2))


def test_a_head_labels_by_hand() -> None:
    """Logits (0, h) at T = 2; it says class 1 of both rows, and the second stands for 3 samples of that class."""
    h, labels, counts = torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]), torch.tensor([2, 3])
    training = HeadTraining(mu=0.0, temperature=2.0, epochs=1, lr=1.0, batch_size=64, device=CPU)
    q, correct = training.label(head_with((0.0, 1.0)), Knowledge(h, torch.full((2, 2), 0.5), labels, counts))
    torch.testing.assert_close(q, torch.tensor([[0.0, 1.0], [0.0, 3.0]]).div(2).softmax(1))
    assert correct == 3


def knowledge(width: int, rows: int, value: float) -> Knowledge:
    labels = torch.arange(rows)
    return Knowledge(torch.full((rows, width), value), torch.full((rows, 2), 0.5), labels, torch.ones_like(labels))


def test_knowledge_on_the_wire() -> None:
    sent = knowledge(3, 2, 0.5)
    assert tuple(sent.wire()) == SENT
    received = Knowledge.received({key: t.half() if t.is_floating_point() else t for key, t in sent.wire().items()})
    assert [t.dtype for t in received] == [torch.float32, torch.float32, torch.int64, torch.int64]
    assert all(torch.equal(a, b) for a, b in zip(sent, received, strict=True))


def test_knowledge_of_several_clients_is_pooled_in_their_order() -> None:
    rows = pooled([knowledge(1, 2, 5.0), knowledge(1, 1, 7.0)], 1)
    assert rows.h.tolist() == [[5], [5], [7]]
    assert rows.labels.tolist() == [0, 1, 0]
    with pytest.raises(UserError, match=r"disagree at cut 3: representations of \[8, 9\] values"):
        pooled([knowledge(9, 1, 0.0), knowledge(8, 1, 0.0)], 3)


def test_representation_is_pooled_to_at_most() -> None:
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert represent(maps, 2).tolist() == [[2.5, 4.5, 10.5, 12.5]]  # means of the four quarters
    assert represent(maps, 4).tolist() == [list(range(16))]
    assert represent(torch.ones(2, 3), 2).shape == (2, 3)


def test_projection_is_fixed_and_keeps_lengths_in_expectation() -> None:
    matrix = projection_matrix(400, 100, 7)
    assert matrix.shape == (400, 100)
    assert projection_matrix(400, 100, 7) is matrix
    assert not torch.equal(projection_matrix(400, 100, 8), matrix)
    h = torch.randn(50, 400, generator=torch.Generator().manual_seed(0))
    assert float(((h @ matrix).norm(dim=1) / h.norm(dim=1)).mean()) == pytest.approx(1, abs=0.03)
