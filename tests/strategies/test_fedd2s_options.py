"""FedD2S: adaptive dropping, what leaves a client, whose heads, mixed models, diagnostics."""

import dataclasses

import pytest
import torch
from conftest import metric_files, serve
from test_contract import record
from test_fedd2s import ONE, make
from toys import make_task, three_parameters

from fedpers import records
from fedpers.errors import UserError
from fedpers.results import Run
from strategies.dropping import AdaptiveDropping
from strategies.fedd2s_server import CUT, HEAD, ORIGIN, SENT, SOFT_LABELS, frozen_head, make_head
from strategies.knowledge import add_noise, clip_rows, projection_matrix

FEDD2S = ["strategy=fedd2s"]


def test_adaptive_dropping_on_a_scripted_sequence() -> None:
    # patience 2, min_delta 0.01. Round 1: 0.50 (best). 2: 0.505 no rise. 3: 0.50, two rounds without: cut 2, best 0.50.
    # 4: 0.52 rise. 5: 0.52 no rise. 6: 0.55 rise. 7: 0.55, 8: 0.54: cut 1. 9, 10, 11: nothing left to drop.
    dropping = AdaptiveDropping((3, 2, 1), patience=2, min_delta=0.01)
    accuracies = [0.50, 0.505, 0.50, 0.52, 0.52, 0.55, 0.55, 0.54, 0.5, 0.5, 0.5]
    cuts = []
    for round, accuracy in enumerate(accuracies, start=1):
        dropping.observe(round, accuracy)
        cuts.append(dropping.cut)
    assert cuts == [3, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1]


def test_adaptive_dropping_in_a_run(federate) -> None:
    """A rise of more than 1 is impossible, so with patience 1 a cut is dropped after every round from the second on."""
    adaptive = [*FEDD2S, "strategy.dropping=adaptive", "strategy.patience=1", "strategy.min_delta=2", "rounds=4"]
    table = federate(*adaptive).diagnostics
    assert table[table.name == "active_cut"].value.tolist() == [2, 2, 1, 1]


def test_adaptive_dropping_needs_validation(federate) -> None:
    with pytest.raises(UserError, match="needs validation samples"):
        federate(*FEDD2S, "strategy.dropping=adaptive", "splits=[0.75,0,0.25]")


def test_clipping_by_hand() -> None:
    h = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(clip_rows(h, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
    assert clip_rows(h, None) is h


def test_noise_has_its_scale_and_soft_labels_stay_distributions() -> None:
    h, p = torch.zeros(2000, 5), torch.full((2000, 4), 0.25)
    noisy_h, noisy_p = add_noise(h, p, 0.5, torch.Generator().manual_seed(0))
    assert float(noisy_h.std()) == pytest.approx(0.5, rel=0.03)
    assert abs(float(noisy_h.mean())) < 0.02
    torch.testing.assert_close(noisy_p.sum(1), torch.ones(2000))
    assert float(noisy_p.min()) > 0
    assert add_noise(h, p, 0.0, torch.Generator()) == (h, p)


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
        recorder, _ = record(federate, *FEDD2S, f"strategy.wire={wire}", "rounds=2", "strategy.dropping=none")
        arrays = [reply.content.array_records[records.ARRAYS]["representations/h"] for reply in recorder.replies]
        heads = [m.content.array_records[records.OWN] for m in recorder.sent]
        assert {a.dtype for r in heads for key, a in r.items() if key.startswith((HEAD, SOFT_LABELS))} == {wire}
        return sum(array.numpy().nbytes for array in arrays)

    assert size("float32") == 2 * size("float16")


def test_own_heads_are_no_federation(federate) -> None:
    """A client's model with heads of its own does not depend on who else takes part."""
    own = [*FEDD2S, "strategy.heads=own", "rounds=2", "strategy.dropping=none"]
    recorder, _ = record(federate, *own)
    sizes = {}
    for message in recorder.sent:
        if records.round_of(message.content) == 2:
            state = records.from_record(message.content.array_records[records.OWN])
            sizes[message.metadata.dst_node_id] = state[f"{HEAD}hidden.weight"]
    values = list(sizes.values())
    assert len(values) == 4
    assert not any(torch.equal(values[0], other) for other in values[1:])


def test_one_client_alone_owns_the_global_head(federate) -> None:
    one = [*FEDD2S, "partition.num_clients=1"]
    alone, together = federate(*one, "strategy.heads=own").scores, federate(*one).scores
    assert alone[["round", "split"]].equals(together[["round", "split"]])
    assert (alone.accuracy - together.accuracy).abs().max() < 0.2  # another batch order, the same algorithm


def test_soft_labels_carry_their_origin_and_grow_old(federate) -> None:
    recorder, run = record(federate, *FEDD2S, "participation=0.5", "rounds=6", "strategy.dropping_interval=2")
    last: dict[int, int] = {}
    ages: dict[int, list[int]] = {}
    for message in recorder.sent:
        round, client = records.round_of(message.content), message.metadata.dst_node_id
        state = records.from_record(message.content.array_records[records.OWN])
        if ORIGIN in state:
            cut, origin = state[ORIGIN].tolist()
            assert origin == last[client]
            assert cut == (2 if origin <= 2 else 1)
            ages.setdefault(round, []).append(round - origin)
        last[client] = round
    table = run.diagnostics
    found = table[table.name == "soft_label_age"]
    assert dict(zip(found["round"], found.value, strict=True)) == {r: sum(a) / len(a) for r, a in ages.items()}
    assert max(max(a) for a in ages.values()) > 1


def test_soft_labels_that_are_too_old_are_not_sent(federate) -> None:
    recorder, _ = record(federate, *FEDD2S, "participation=0.5", "rounds=6", "strategy.soft_label_max_age=1")
    origins = [
        (records.round_of(m.content), records.from_record(m.content.array_records[records.OWN]).get(ORIGIN))
        for m in recorder.sent
    ]
    ages = [round - int(origin[1]) for round, origin in origins if origin is not None]
    assert ages
    assert set(ages) == {1}


def test_head_of_each_shape_is_rebuilt() -> None:
    for hidden, norm in ((3, False), (0, False), (3, True), (0, True)):
        head = make_head(4, hidden, 2, norm=norm)
        rebuilt = frozen_head({HEAD + key: value for key, value in head.state_dict().items()})
        assert rebuilt is not None
        inputs = torch.rand(5, 4)
        torch.testing.assert_close(rebuilt(inputs), head(inputs), rtol=0, atol=0)


def test_head_widths_by_cut(federate) -> None:
    recorder, _ = record(federate, *FEDD2S, "strategy.head_hidden=[5,0]", "strategy.dropping_interval=2", "rounds=4")
    shapes = {}
    for message in recorder.sent:
        own = message.content.array_records[records.OWN]
        shapes[records.round_of(message.content)] = {k.removeprefix(HEAD): a.shape for k, a in own.items() if HEAD in k}
    assert shapes[2]["hidden.weight"] == (5, 6)
    norm = {"norm.weight": (8,), "norm.bias": (8,)}
    assert shapes[4] == {**norm, "logits.weight": (10, 8), "logits.bias": (10,)}
    with pytest.raises(UserError, match=r"head_hidden=\[5\].*2 of them"):
        federate(*FEDD2S, "strategy.head_hidden=[5]")


def test_projection_is_fixed_and_keeps_lengths_in_expectation() -> None:
    matrix = projection_matrix(400, 100, 7)
    assert matrix.shape == (400, 100)
    assert projection_matrix(400, 100, 7) is matrix
    assert not torch.equal(projection_matrix(400, 100, 8), matrix)
    h = torch.randn(50, 400, generator=torch.Generator().manual_seed(0))
    assert float(((h @ matrix).norm(dim=1) / h.norm(dim=1)).mean()) == pytest.approx(1, abs=0.03)


def test_clients_may_own_different_architectures(federate) -> None:
    mixed = ["model=mixed", "partition.max_samples=80", "rounds=2"]
    run = federate(*FEDD2S, *mixed)
    assert run.scores.client.nunique() == 4
    assert federate("strategy=local", *mixed).scores.client.nunique() == 4


def test_each_client_has_its_own_architecture(config) -> None:
    from fedpers import client_app

    settings = config(*FEDD2S, "model=mixed")
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


def test_cuts_that_disagree_need_a_projection(config, tmp_path) -> None:
    def run(name: str, *overrides: str) -> Run:
        settings = config(*FEDD2S, "strategy.dropping_set=[1]", f"out={tmp_path / name}", *overrides)
        mixture = [{"_target_": "fedpers.models.mlp.mlp", "hidden": [width, 6]} for width in (8, 9)]
        return serve(dataclasses.replace(settings, model={"mixture": mixture}))

    with pytest.raises(UserError, match=r"disagree at cut 1: representations of \[8, 9\] values.*projection=SIZE"):
        run("without")
    assert run("with", "strategy.projection=5").scores.client.nunique() == 4


def test_diagnostics_tell_what_happened(federate) -> None:
    table = federate(*FEDD2S, "strategy.dropping_interval=2").diagnostics
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
    assert metric_files(federate(*FEDD2S)) == metric_files(federate(*FEDD2S))
    assert dataclasses.asdict(make())["knowledge_noise"] == 0.0
    assert make().observe(three_parameters(), ONE, 1, 0)[0].tolist() == [[1.0]]
