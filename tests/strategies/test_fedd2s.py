"""FedD2S: the schedule, both losses and their gradients by hand, and what never happens."""

import math

import pytest
import torch
from flwr.app import ArrayRecord
from test_contract import record
from torch import nn
from toys import make_task, three_parameters

from fedpers import records
from fedpers.build import build
from fedpers.compose import compose_config
from fedpers.errors import UserError
from fedpers.training import Batch, Split
from strategies.fedd2s import FedD2S, Teacher, soft_label_of_each_sample
from strategies.fedd2s_server import CUT, HEAD, SENT, SOFT_LABELS, frozen_head, make_head
from strategies.knowledge import class_means, distill, represent

LOG2, LOG3 = math.log(2), math.log(3)
OFF = ["strategy.lambda_ce=0", "strategy.lambda_kl=0"]


def make(**changes: object) -> FedD2S:
    """Build FedD2S with the defaults of its YAML file but for some changes."""
    spec = compose_config(["strategy=fedd2s"]).strategy
    algorithm: FedD2S = build(spec | changes, "strategy")
    return algorithm


def head_with(weights: tuple[float, float]) -> nn.Sequential:
    """Return a head on a scalar that computes relu(z) times two weights."""
    head = make_head(1, 1, 2)
    values = {
        "hidden.weight": [[1.0]],
        "hidden.bias": [0.0],
        "logits.weight": [[w] for w in weights],
        "logits.bias": [0.0, 0.0],
    }
    head.load_state_dict({key: torch.tensor(value) for key, value in values.items()})
    return head.requires_grad_(False)


ONE = Split(torch.tensor([[1.0]]), torch.tensor([0]))
BATCH = Batch(ONE.inputs, ONE.labels, torch.tensor([0]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dropping_interval": 2}, [3, 3, 2, 2, 1, 1, 1, 1]),  # all cuts of a four-stage model
        ({"dropping_interval": None}, [3, 3, 3, 2, 2, 2, 1, 1]),  # 8 rounds over 3 cuts
        ({"dropping_interval": 1, "dropping_set": [2, 1]}, [2, 1, 1, 1, 1, 1, 1, 1]),
        ({"dropping_interval": 3, "dropping_set": [1, 3]}, [1, 1, 1, 3, 3, 3, 3, 3]),
        ({"dropping": "none"}, [3] * 8),
    ],
)
def test_dropping_schedule(changes: dict, expected: list[int]) -> None:
    algorithm = make(**changes)
    assert [algorithm.active_cut(round, num_rounds=8, num_stages=4) for round in range(1, 9)] == expected


def test_client_loss_and_gradient_by_hand() -> None:
    # x = 1, label 0, scale 1, model head (0, 0): f = (0, 0), CE = ln 2, dCE/df = (-1/2, 1/2), so dCE/dscale = 0.
    # Server head (0, ln 3) on h = 1: g = (0, ln 3), softmax (1/4, 3/4), CE = ln 4, dCE/dg = (-3/4, 3/4),
    #   dCE/dh = -3/4 * 0 + 3/4 * ln 3 = dCE/dscale (x = 1).
    # Soft label q = (1/4, 3/4), T = 1: KL(q || (1/2, 1/2)) = 1/4 ln(1/2) + 3/4 ln(3/2) = 3/4 ln 3 - ln 2,
    #   dKL/df = (1/2, 1/2) - q = (1/4, -1/4).
    model = three_parameters()
    q = torch.tensor([[0.25, 0.75]])
    teacher = Teacher(make(lambda_ce=2.0, lambda_kl=0.5, temperature=1.0), 1, head_with((0.0, LOG3)), q)
    loss = teacher.client_loss(model, BATCH)
    assert loss.item() == pytest.approx(LOG2 + 2 * 2 * LOG2 + 0.5 * (0.75 * LOG3 - LOG2))
    loss.backward()
    # the head's weight times h = 1: -1/2 + 0.5 * 1/4, and the opposite
    assert model.get_parameter("head.weight").grad.flatten().tolist() == pytest.approx([-0.375, 0.375])
    assert float(model.get_parameter("base.weight").grad) == pytest.approx(2 * 0.75 * LOG3)


def test_temperature_by_hand() -> None:
    # logits (0, 2 ln 3), T = 2: softened (1/4, 3/4); target (1/2, 1/2):
    # KL = 1/2 ln(2) + 1/2 ln(2/3) = ln 2 - 1/2 ln 3, times T² = 4
    loss = distill(torch.tensor([[0.0, 2 * LOG3]]), torch.tensor([[0.5, 0.5]]), 2.0)
    assert loss.tolist() == pytest.approx([4 * (LOG2 - 0.5 * LOG3)])


def test_kl_on_head_reaches_no_dropped_stage() -> None:
    q = torch.tensor([[0.5, 0.5]])
    without = three_parameters()
    Teacher(make(lambda_ce=0.0, lambda_kl=0.0), 1, None, None).client_loss(without, BATCH).backward()
    model = three_parameters()
    algorithm = make(lambda_ce=0.0, lambda_kl=1.0, kl_on="head", temperature=1.0)
    Teacher(algorithm, 1, head_with((0.0, LOG3)), q).client_loss(model, BATCH).backward()
    dropped = [m.get_parameter("head.weight").grad.tolist() for m in (model, without)]
    assert dropped[0] == dropped[1]
    # dKL/dg = (1/4, 3/4) - (1/2, 1/2); times the head's weights (0, ln 3)
    assert float(model.get_parameter("base.weight").grad) == pytest.approx(0.25 * LOG3)


def server(config, algorithm: FedD2S):  # type: ignore[no-untyped-def]
    from fedpers.federation import Federation

    federation = Federation(config(), {0: 1}, 2, (1, 1, 1), three_parameters, {})
    return algorithm.server(federation)


def test_server_loss_by_hand(config) -> None:
    # A head that answers (0, 0): CE = ln 2; p = (1/4, 3/4): KL = 3/4 ln 3 - ln 2; μ = 2, T = 1. The first row stands
    # for 1 sample, the second, with p = (1/2, 1/2) and KL = 0, for 3: weights 1/2 and 3/2, mean over the two rows.
    half = server(config, make(mu=2.0, temperature=1.0, server_epochs=1, server_lr=1e-9))
    half.heads[1, -1] = head_with((0.0, 0.0)).requires_grad_(True)
    knowledge = (
        torch.ones(2, 1),
        torch.tensor([[0.25, 0.75], [0.5, 0.5]]),
        torch.tensor([0, 1]),
        torch.tensor([1, 3]),
    )
    loss = half.train_head(1, -1, 1, [knowledge])
    assert loss == pytest.approx(0.5 * (0.5 * (LOG2 + 2 * (0.75 * LOG3 - LOG2)) + 1.5 * LOG2))


def test_untrained_head_never_teaches(federate) -> None:
    """A head is sent only from the second round of its cut on."""
    recorder, _ = record(federate, "strategy=fedd2s", "strategy.dropping_interval=2", "rounds=4")
    by_round: dict[int, set[tuple[int, bool]]] = {}
    for message in recorder.sent:
        own = message.content.array_records[records.OWN]
        cut = int(records.from_record(own)[CUT])
        has_head = any(key.startswith(HEAD) for key in own)
        by_round.setdefault(records.round_of(message.content), set()).add((cut, has_head))
    assert by_round == {1: {(2, False)}, 2: {(2, True)}, 3: {(1, False)}, 4: {(1, True)}}


def test_nothing_but_knowledge_leaves_a_client(federate) -> None:
    recorder, run = record(federate, "strategy=fedd2s")
    for reply in recorder.replies:
        assert set(reply.content.array_records[records.ARRAYS]) == set(SENT)
    assert set(run.traffic[run.traffic.direction == "up"].kind) == {
        "representations",
        "soft_labels",
        "labels",
        "metrics",
    }
    assert set(run.scores.model) == {"personal"}


def test_representation_has_the_shape_of_the_active_cut(federate) -> None:
    """Hidden widths 8 and 6: cut 2 sends 6 values a sample, then cut 1 sends 8."""
    recorder, _ = record(federate, "strategy=fedd2s", "strategy.dropping_interval=1", "rounds=2")
    widths = {
        records.round_of(message.content): reply.content.array_records[records.ARRAYS]["representations/h"].shape[1]
        for message, reply in zip(recorder.sent, recorder.replies, strict=True)
    }
    assert widths == {1: 6, 2: 8}


@pytest.mark.parametrize("off", [OFF, [*OFF, "strategy.knowledge=class_means"], [*OFF, "strategy.kl_on=head"]])
def test_all_weights_zero_is_local(off: list[str], federate) -> None:
    nothing = federate("strategy=fedd2s", "strategy.clip_norm=null", "participation=0.5", *off).scores
    assert nothing.equals(federate("strategy=local", "participation=0.5").scores)


def test_feedback_chooses_what_is_sent(federate) -> None:
    def kinds(feedback: str) -> set[str]:
        traffic = federate("strategy=fedd2s", f"strategy.feedback={feedback}", "strategy.dropping=none").traffic
        return set(traffic[(traffic.direction == "down") & (traffic.phase == "train")].kind)

    assert kinds("both") == {"heads", "soft_labels", "control"}
    assert kinds("head") == {"heads", "control"}
    assert kinds("soft_labels") == {"soft_labels", "control"}


def test_a_client_that_was_away_is_served_its_old_soft_labels(federate) -> None:
    recorder, _ = record(federate, "strategy=fedd2s", "participation=0.5", "rounds=6")
    trained: set[int] = set()
    for message in recorder.sent:
        client = message.metadata.dst_node_id
        own = message.content.array_records[records.OWN]
        assert (SOFT_LABELS in own) == (client in trained)
        trained.add(client)
    assert len(trained) == 4


def test_soft_labels_follow_the_samples(config) -> None:
    """What the server returns is its head's answer to each sample, in the order in which the client sent them."""
    half = server(config, make(temperature=2.0, server_epochs=1, server_lr=1e-9))
    from flwr.app import Message, MetricRecord, RecordDict

    from fedpers.engines.identity import assume_server_identity

    assume_server_identity()
    half.heads[1, -1] = head_with((0.0, 1.0)).requires_grad_(True)
    knowledge = {
        SENT[0]: torch.tensor([[1.0], [3.0]]),
        SENT[1]: torch.full((2, 2), 0.5),
        SENT[2]: torch.tensor([0, 1]),
        SENT[3]: torch.tensor([1, 1]),
    }
    call = Message(RecordDict(), dst_node_id=1, message_type="train")
    metrics = MetricRecord({records.NUM_EXAMPLES: 2, "loss": 1.0})
    half.aggregate_train(
        1, [Message(RecordDict({"arrays": ArrayRecord(knowledge), "metrics": metrics}), reply_to=call)]
    )
    expected = torch.tensor([[0.0, 1.0], [0.0, 3.0]]).div(2).softmax(1)
    torch.testing.assert_close(half.soft_labels[0].q, expected)
    torch.testing.assert_close(half.send_to(0, 2)[SOFT_LABELS], expected)


def test_class_means_by_hand() -> None:
    h, p = torch.tensor([[1.0, 0.0], [5.0, 5.0], [3.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.2, 0.8], [0.5, 0.5]])
    means = class_means(h, p, torch.tensor([4, 7, 4]))
    assert means[0].tolist() == [[2.0, 1.0], [5.0, 5.0]]
    torch.testing.assert_close(means[1], torch.tensor([[0.75, 0.25], [0.2, 0.8]]))
    assert means[2].tolist() == [4, 7]
    assert means[3].tolist() == [2, 1]


def test_class_mean_of_one_sample_is_the_sample() -> None:
    h, p = torch.rand(3, 5), torch.rand(3, 10).softmax(1)
    means = class_means(h, p, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(means[0], h, rtol=0, atol=0)
    torch.testing.assert_close(means[1], p, rtol=0, atol=0)


def test_class_means_give_each_sample_the_row_of_its_class() -> None:
    labels = torch.tensor([7, 2, 7, 5])
    rows = torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.7, 0.3]])  # classes 2, 5, 7
    assert soft_label_of_each_sample(rows, labels, "class_means").tolist() == rows[[2, 0, 2, 1]].tolist()
    samples = torch.rand(4, 2)
    assert soft_label_of_each_sample(samples, labels, "samples") is samples


def test_class_means_send_less(federate) -> None:
    def size(knowledge: str) -> int:
        traffic = federate("strategy=fedd2s", f"strategy.knowledge={knowledge}").traffic
        return int(traffic[traffic.kind == "representations"].bytes.sum())

    assert size("class_means") < size("samples")


def test_representation_is_pooled_to_at_most() -> None:
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert represent(maps, 2).tolist() == [[2.5, 4.5, 10.5, 12.5]]  # means of the four quarters
    assert represent(maps, 4).tolist() == [list(range(16))]
    assert represent(torch.ones(2, 3), 2).shape == (2, 3)


def test_head_on_the_client_is_the_servers_and_frozen() -> None:
    head = head_with((0.5, -0.5))
    received = {HEAD + key: value for key, value in head.state_dict().items()}
    rebuilt = frozen_head(received)
    assert rebuilt is not None
    assert rebuilt(torch.tensor([[2.0]])).tolist() == [[1.0, -1.0]]
    assert not any(parameter.requires_grad for parameter in rebuilt.parameters())
    assert frozen_head({}) is None


def test_personal_stage_does_not_move_the_sent_representation() -> None:
    """What is sent depends on the stages before the cut alone, but for the soft labels."""
    sent = [make().observe(three_parameters(2.0, weights), ONE, 1, 0)[0] for weights in ((0.0, 0.0), (3.0, -3.0))]
    assert sent[0].tolist() == sent[1].tolist() == [[2.0]]


def test_train_returns_knowledge_and_keeps_the_model() -> None:
    client = make(clip_norm=None)
    model = three_parameters()
    task = make_task(model, client, [[1.0]], [0], received={CUT: torch.tensor(1)})
    update = client.train(task)
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([0.5, -0.5])  # as Local, by hand there
    assert update.send["representations/h"].tolist() == [[1.0]]
    expected = torch.tensor([[0.5, -0.5]]).div(client.temperature).softmax(1)
    torch.testing.assert_close(update.send["soft_labels/p"], expected)
    assert update.send["labels/y"].tolist() == [0]


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": 0.0},
        {"lambda_ce": -1.0},
        {"server_epochs": 0},
        {"dropping_set": []},
        {"dropping_interval": 0},
        {"kl_on": "nothing"},
        {"knowledge": "weights"},
        {"wire": "int8"},
        {"knowledge_noise": -1.0},
        {"projection": 0},
        {"head_hidden": -1},
        {"patience": 0},
    ],
)
def test_impossible_values_are_named(bad: dict) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{next(iter(bad))}"):
        make(**bad)
