"""FedD2S' server: its heads and soft labels by hand, and which of them a client is sent."""

import dataclasses

import pytest
import torch
from fedd2s_toys import KNOWLEDGE, head_with, server
from federations import record, serve

from fedpers.algorithm import State
from fedpers.errors import UserError
from fedpers.results import Run
from fedpers.wire import records
from strategies.fedd2s.client import CUT, HEAD
from strategies.fedd2s.server import ORIGIN
from strategies.parts.exchange import SOFT_LABELS, Knowledge
from strategies.parts.heads import copied_weights


def knowledge(rows: list[list[float]], labels: list[int]) -> State:
    of_each = torch.ones(len(labels), dtype=torch.int64)
    return Knowledge(torch.tensor(rows), torch.full((len(labels), 2), 0.5), torch.tensor(labels), of_each).wire()


def test_soft_labels_follow_the_samples() -> None:
    """What the server returns is its head's answer to each sample, in the order in which the client sent them."""
    half = server(temperature=2.0, server_epochs=1, server_lr=1e-9)
    half.state.heads[1] = {-1: copied_weights(head_with((0.0, 1.0)))}
    half.aggregate(1, {0: knowledge([[1.0], [3.0]], [0, 1])}, {0: 2})
    expected = torch.tensor([[0.0, 1.0], [0.0, 3.0]]).div(2).softmax(1)
    torch.testing.assert_close(half.state.soft_labels[0].q, expected)
    torch.testing.assert_close(half.send_to(0, 2)[SOFT_LABELS], expected)
    assert half.send_to(0, 2)[ORIGIN].tolist() == [1, 1]
    assert half.diagnostics["head_accuracy"] == 0.5  # it says class 1 of both
    assert half.diagnostics["active_cut"] == 1


def test_the_head_that_was_trained_is_sent_and_goes_on() -> None:
    """Nobody has a head before somebody was heard; the state of the round before is spared."""
    half = server(server_epochs=3)
    assert set(half.send_to(0, 1)) == {CUT}
    half.aggregate(1, {0: knowledge([[1.0]], [0])})
    before = {key: w.clone() for key, w in half.state.heads[1][-1].items()}
    first = half.state
    sent = half.send_to(3, 2)  # also to a client that was never heard
    assert {key.removeprefix(HEAD) for key in sent if key != CUT} == set(before)
    assert all(torch.equal(sent[HEAD + key], w) for key, w in before.items())
    half.aggregate(2, {1: knowledge([[1.0]], [0])})
    assert all(torch.equal(first.heads[1][-1][key], w) for key, w in before.items())
    assert not torch.equal(half.state.heads[1][-1]["logits.bias"], before["logits.bias"])
    assert half.send_to(0, 3, "score") == {}


def test_own_heads_learn_from_their_client_alone() -> None:
    half, alone = server(heads="own"), server(heads="own")
    half.aggregate(1, {0: knowledge([[1.0]], [0]), 2: knowledge([[5.0]], [1])})
    alone.aggregate(1, {2: knowledge([[5.0]], [1])})
    assert set(half.state.heads[1]) == {0, 2}
    assert all(torch.equal(w, alone.state.heads[1][2][key]) for key, w in half.state.heads[1][2].items())
    assert set(half.send_to(1, 2)) == {CUT}


def test_untrained_head_never_teaches(federate) -> None:
    """A head is sent only from the second round of its cut on."""
    recorder, _ = record(federate, *KNOWLEDGE, "strategy.dropping_interval=2", "rounds=4")
    by_round: dict[int, set[tuple[int, bool]]] = {}
    for message in recorder.sent:
        own = message.content.array_records[records.OWN]
        cut = int(records.from_record(own)[CUT])
        has_head = any(key.startswith(HEAD) for key in own)
        by_round.setdefault(records.round_of(message.content), set()).add((cut, has_head))
    assert by_round == {1: {(2, False)}, 2: {(2, True)}, 3: {(1, False)}, 4: {(1, True)}}


def test_feedback_chooses_what_is_sent(federate) -> None:
    def kinds(feedback: str) -> set[str]:
        traffic = federate(*KNOWLEDGE, f"strategy.feedback={feedback}", "strategy.dropping=none").traffic
        return set(traffic[(traffic.direction == "down") & (traffic.phase == "train")].kind)

    assert kinds("both") == {"heads", "soft_labels", "control"}
    assert kinds("head") == {"heads", "control"}
    assert kinds("soft_labels") == {"soft_labels", "control"}


def test_a_client_that_was_away_is_served_its_old_soft_labels(federate) -> None:
    recorder, _ = record(federate, *KNOWLEDGE, "participation=0.5", "rounds=6")
    trained: set[int] = set()
    for message in recorder.sent:
        client = message.metadata.dst_node_id
        own = message.content.array_records[records.OWN]
        assert (SOFT_LABELS in own) == (client in trained)
        trained.add(client)
    assert len(trained) == 4


def test_own_heads_are_no_federation(federate) -> None:
    """A client's model with heads of its own does not depend on who else takes part."""
    own = [*KNOWLEDGE, "strategy.heads=own", "rounds=2", "strategy.dropping=none"]
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
    one = [*KNOWLEDGE, "partition.num_clients=1"]
    alone, together = federate(*one, "strategy.heads=own").scores, federate(*one).scores
    assert alone[["round", "split"]].equals(together[["round", "split"]])
    assert (alone.accuracy - together.accuracy).abs().max() < 0.2  # another batch order, the same algorithm


def test_soft_labels_carry_their_origin_and_grow_old(federate) -> None:
    recorder, run = record(federate, *KNOWLEDGE, "participation=0.5", "rounds=6", "strategy.dropping_interval=2")
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
    recorder, _ = record(federate, *KNOWLEDGE, "participation=0.5", "rounds=6", "strategy.soft_label_max_age=1")
    origins = [
        (records.round_of(m.content), records.from_record(m.content.array_records[records.OWN]).get(ORIGIN))
        for m in recorder.sent
    ]
    ages = [round - int(origin[1]) for round, origin in origins if origin is not None]
    assert ages
    assert set(ages) == {1}


def test_head_widths_by_cut(federate) -> None:
    recorder, _ = record(federate, *KNOWLEDGE, "strategy.head_hidden=[5,0]", "strategy.dropping_interval=2", "rounds=4")
    shapes = {}
    for message in recorder.sent:
        own = message.content.array_records[records.OWN]
        shapes[records.round_of(message.content)] = {k.removeprefix(HEAD): a.shape for k, a in own.items() if HEAD in k}
    assert shapes[2]["hidden.weight"] == (5, 6)
    norm = {"norm.weight": (8,), "norm.bias": (8,)}
    assert shapes[4] == {**norm, "logits.weight": (10, 8), "logits.bias": (10,)}
    with pytest.raises(UserError, match=r"head_hidden=\[5\].*2 of them"):
        federate(*KNOWLEDGE, "strategy.head_hidden=[5]")


def test_cuts_that_disagree_need_a_projection(config, tmp_path) -> None:
    def run(name: str, *overrides: str) -> Run:
        settings = config(*KNOWLEDGE, "strategy.dropping_set=[1]", f"out={tmp_path / name}", *overrides)
        mixture = [{"_target_": "fedpers.models.mlp.mlp", "hidden": [width, 6]} for width in (8, 9)]
        return serve(dataclasses.replace(settings, model={"mixture": mixture}))

    with pytest.raises(UserError, match=r"disagree at cut 1: representations of \[8, 9\] values.*projection=SIZE"):
        run("without")
    assert run("with", "strategy.projection=5").scores.client.nunique() == 4


def test_a_head_does_not_learn_from_those_whom_it_fits_worst() -> None:
    """Three clients agree; the fourth calls the classes by each other's names."""
    honest, poisoned = knowledge([[-1.0], [1.0]], [0, 1]), knowledge([[-1.0], [1.0]], [1, 0])
    sent = {0: honest, 1: poisoned, 2: honest, 3: honest}
    trimmed, without = (server(head_norm=False, server_epochs=50, trim=trim) for trim in (0.25, 0.0))
    trimmed.aggregate(1, sent)
    without.aggregate(1, {client: each for client, each in sent.items() if client != 1})
    assert {name for name in trimmed.diagnostics if name.startswith("left_out/")} == {"left_out/1"}
    for key, w in trimmed.state.heads[1][-1].items():
        assert torch.equal(w, without.state.heads[1][-1][key])
    assert set(trimmed.state.soft_labels) == {0, 1, 2, 3}  # it is told what the others know, all the same
    trimmed.aggregate(2, sent)  # by the head that there is now
    assert "left_out/1" in trimmed.diagnostics


def test_the_share_that_is_left_out_is_rounded_down() -> None:
    sent = {client: knowledge([[-1.0], [1.0]], [0, 1]) for client in range(4)}
    for trim, number in ((0.0, 0), (0.24, 0), (0.25, 1), (0.5, 2), (0.99, 3)):
        half = server(trim=trim)
        half.aggregate(1, sent)
        assert sum(name.startswith("left_out/") for name in half.diagnostics) == number
