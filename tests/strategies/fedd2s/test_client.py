"""FedD2S: the schedule, a client's loss and its gradient by hand, mixed models, diagnostics, and what never happens."""

import dataclasses

import pytest
import torch
from by_hand import LOG2, LOG3
from fedd2s_toys import ONE, head_with, make
from federations import metric_files, record
from toys import make_task, three_parameters

from fedpers import records
from fedpers.errors import UserError
from fedpers.training import Batch
from strategies.fedd2s.client import Teacher, soft_label_of_each_sample
from strategies.fedd2s.server import CUT, HEAD, SENT, SOFT_LABELS

OFF = ["strategy.lambda_ce=0", "strategy.lambda_kl=0"]
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
    assert set(run.metrics.model) == {"personal"}


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
    nothing = federate("strategy=fedd2s", "strategy.clip_norm=null", "participation=0.5", *off).metrics
    assert nothing.equals(federate("strategy=local", "participation=0.5").metrics)


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


def test_adaptive_dropping_needs_validation(federate) -> None:
    with pytest.raises(UserError, match="needs validation samples"):
        federate("strategy=fedd2s", "strategy.dropping=adaptive", "splits=[0.75,0,0.25]")


def sent(**changes: object) -> tuple[torch.Tensor, ...]:
    client = make(**changes)
    update = client.train(
        make_task(three_parameters(), client, [[1.0], [3.0]], [0, 1], received={CUT: torch.tensor(1)})
    )
    return (*(update.send[key] for key in SENT), update.keep["head.weight"])


def test_float16_and_noise_change_what_is_promised_and_nothing_else() -> None:
    plain, half, noisy, clipped = (
        sent(),
        sent(wire="float16"),
        sent(knowledge_noise=0.1),
        sent(knowledge_clip=2.0),
    )
    assert half[0].dtype == half[1].dtype == torch.float16
    torch.testing.assert_close(half[0].float(), plain[0], rtol=1e-3, atol=1e-3)
    assert not torch.equal(noisy[0], plain[0])
    assert not torch.equal(noisy[1], plain[1])
    assert sorted(clipped[0].flatten().tolist()) == [1.0, 2.0]
    for other in (half, noisy, clipped):
        assert torch.equal(other[2], plain[2])
        assert torch.equal(other[3], plain[3])
        assert torch.equal(other[4], plain[4])  # the client's own model


def test_float16_halves_the_knowledge_on_the_wire(federate) -> None:
    def size(wire: str) -> int:
        recorder, _ = record(federate, "strategy=fedd2s", f"strategy.wire={wire}", "rounds=2", "strategy.dropping=none")
        arrays = [reply.content.array_records[records.ARRAYS]["representations/h"] for reply in recorder.replies]
        heads = [m.content.array_records[records.OWN] for m in recorder.sent]
        assert {a.dtype for r in heads for key, a in r.items() if key.startswith((HEAD, SOFT_LABELS))} == {wire}
        return sum(array.numpy().nbytes for array in arrays)

    assert size("float32") == 2 * size("float16")


def test_clients_may_own_different_architectures(federate) -> None:
    mixed = ["model=mixed", "partition.max_samples=80", "rounds=2"]
    run = federate("strategy=fedd2s", *mixed)
    assert run.metrics.client.nunique() == 4
    assert federate("strategy=local", *mixed).metrics.client.nunique() == 4


def test_each_client_has_its_own_architecture(config) -> None:
    from fedpers import client_app

    settings = config("strategy=fedd2s", "model=mixed")
    _, shards = client_app.open_run(settings.to_json())
    models = [client_app.build_model(settings, shards, client) for client in range(4)]
    depths = [sum(isinstance(m, torch.nn.Conv2d) for m in model.modules()) for model in models]
    assert depths == [2, 4, 6, 2]
    images = shards.client(0).train.inputs
    for cut in (1, 2, 3):
        assert len({model.run_to(images, cut).shape for model in models}) == 1


def test_a_mixture_shares_no_weights(federate) -> None:
    with pytest.raises(UserError, match="strategy=fedavg shares weights"):
        federate("strategy=fedavg", "model=mixed")


def test_diagnostics_tell_what_happened(federate) -> None:
    table = federate("strategy=fedd2s", "strategy.dropping_interval=2").diagnostics
    server = table[table.client == -1]
    assert server[server.name == "active_cut"].value.tolist() == [2, 2, 1]
    assert server[server.name == "head_accuracy"].value.between(0, 1).all()
    assert len(server[server.name == "head_loss"]) == 3
    clients = table[table.client >= 0]
    assert set(clients.name) == {"loss", "agreement", "drift/fc1", "drift/fc2", "drift/head"}
    assert set(clients[clients.name == "agreement"]["round"]) == {2, 3}  # nobody teaches in the first round
    drift = clients[clients.name == "drift/head"].groupby("round").value.mean()
    assert drift.is_monotonic_increasing


def test_drift_by_hand() -> None:
    # one step moves the head from (1, 0) by the gradient of CE at logits (1, 0): see the numbers below
    client = make(clip_norm=None)
    task = make_task(three_parameters(1.0, (1.0, 0.0)), client, [[1.0]], [0], received={CUT: torch.tensor(1)})
    metrics = client.train(task).metrics
    p1 = 1 / (1 + torch.e**1)  # probability of the wrong class; the head moves by (p1, -p1)
    assert metrics["drift/head"] == pytest.approx(2**0.5 * p1)
    assert metrics["drift/base"] == pytest.approx(p1)  # dCE/dscale = p1 * (0 - 1), against |scale| = 1


def test_observation_changes_nothing(federate) -> None:
    """Diagnostics are bookkeeping: the metric tables are those of a run whose diagnostics are thrown away."""
    assert metric_files(federate("strategy=fedd2s")) == metric_files(federate("strategy=fedd2s"))
    assert dataclasses.asdict(make())["knowledge_noise"] == 0.0
    assert make().observe(three_parameters(), ONE, 1, 0)[0].tolist() == [[1.0]]
