"""Shared weights: FedPer and FedAvg as their limits, what a dropped stage keeps, and who is sent which average."""

import pytest
import torch
from by_hand import Half, federation
from fedd2s_toys import KNOWLEDGE, make, server
from federations import personal, record
from torch import nn
from toys import Scale, make_task, three_parameters

from fedpers.algorithm import State
from fedpers.errors import UserError
from fedpers.models.staged import Staged
from fedpers.wire import records
from strategies.fedd2s.client import CUT
from strategies.parts.exchange import SENT, Knowledge

WEIGHTS = ["strategy=fedd2s", "strategy.share=weights", "strategy.clip_norm=null"]
BOTH = [*KNOWLEDGE, "strategy.share=both"]
DROPPING = ["strategy.dropping_set=[2,1]", "strategy.dropping_interval=2"]
FEW = ["participation=0.5", "unseen=0.25", "rounds=4"]


def four_parameters(first: float = 1.0, second: float = 1.0) -> Staged:
    """Three stages, the first two of one weight each."""
    head = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(head.weight)
    return Staged({"first": Scale(first), "second": Scale(second), "head": head})


def averages(first: float, second: float) -> State:
    return {"first.weight": torch.tensor([first]), "second.weight": torch.tensor([second])}


def half(**changes: object) -> Half:
    """Return the server half of a model of three stages: cut 2 in rounds 1 and 2, then cut 1."""
    options = {"share": "weights", "dropping_set": (2, 1), "dropping_interval": 2} | changes
    return Half(make(**options).server(federation(model=four_parameters)))


@pytest.mark.parametrize("more", [[], FEW])
def test_weights_at_the_last_cut_without_dropping_are_fedper(more: list[str], federate) -> None:
    ours = federate(*WEIGHTS, "strategy.dropping=none", *more).scores
    assert ours.equals(federate("strategy=fedper", *more).scores)


@pytest.mark.parametrize("more", [[], FEW])
def test_weights_of_all_stages_without_dropping_are_fedavg(more: list[str], federate) -> None:
    """The averages make a whole model, so that there is a global one as well."""
    ours = federate(*WEIGHTS, "strategy.dropping_set=[3]", "strategy.dropping=none", *more).scores
    assert set(ours.model) == {"personal", "global"}
    assert ours.equals(federate("strategy=fedavg", *more).scores)


def test_without_heads_there_is_no_vote(federate) -> None:
    voting = federate("strategy=fedd2s", "strategy.share=weights", "strategy.vote=0.5")
    assert voting.scores.equals(federate("strategy=fedd2s", "strategy.share=weights").scores)


def test_both_with_zero_weights_is_weights(federate) -> None:
    zero = ["strategy.lambda_ce=0", "strategy.lambda_kl=0"]
    both = federate(*BOTH, *zero, *FEW)
    assert both.scores.equals(federate("strategy=fedd2s", "strategy.share=weights", *FEW).scores)
    assert not both.scores.equals(federate(*BOTH, *FEW).scores)


def test_a_stage_sends_its_weights_until_it_is_dropped(federate) -> None:
    recorder, run = record(federate, *BOTH, *DROPPING, "rounds=3")
    up, down = {}, {}
    for message, reply in zip(recorder.sent, recorder.replies, strict=True):
        round = records.round_of(message.content)
        down[round] = set(message.content.array_records[records.ARRAYS])
        up[round] = set(reply.content.array_records[records.ARRAYS]) - set(SENT)
    one = {"fc1.0.weight", "fc1.0.bias", "fc1.1.weight", "fc1.1.bias"} & up[1]
    two = one | {key for key in up[1] if key.startswith("fc2.")}
    assert one
    assert two > one
    assert up == {1: two, 2: two, 3: one}
    assert down == {1: set(), 2: two, 3: two}  # what was averaged last
    kinds = run.traffic[(run.traffic.direction == "up") & (run.traffic.phase == "train")].kind
    assert set(kinds) == {"weights", "representations", "soft_labels", "labels", "metrics"}


def test_a_client_begins_with_averages_and_its_own_dropped_stages() -> None:
    client = make(share="weights", clip_norm=None)
    state = {**averages(3.0, 4.0), "head.weight": torch.zeros(2, 1)}
    own = four_parameters(3.0, 4.0)  # as it is loaded: what the client keeps comes first
    task = make_task(own, client, [[1.0]], [0], received={CUT: torch.tensor(1), **averages(5.0, 6.0)}, state=state)
    update = client.train(task)
    assert set(update.send) == {"first.weight"}
    assert set(update.keep) == {"first.weight", "second.weight", "head.weight"}
    # h = 5 * 4 = 20; the head starts at zero, so nothing before it moves: dCE/dhead = 20 * (-1/2, 1/2)
    assert float(update.send["first.weight"]) == 5.0
    assert float(update.keep["second.weight"]) == 4.0
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([10.0, -10.0])


@pytest.mark.parametrize(("trunk", "first"), [("averaged", 5.0), ("own", 3.0)])
def test_a_client_predicts_with_the_averages_or_its_own_trunk(trunk: str, first: float) -> None:
    client = make(share="both", trunk=trunk)
    received = {CUT: torch.tensor(1), **averages(5.0, 6.0)}
    model = client.personalize(make_task(four_parameters(3.0, 4.0), client, [[1.0]], [0], received=received))
    assert [float(stage.weight) for stage in list(model)[:2]] == [first, 4.0]


def test_averages_by_hand_and_who_is_sent_those_of_dropped_stages() -> None:
    """By n_k; whoever was never heard is served what a dropped stage was last, others keep their own."""
    server = half()
    assert server.state.shared == {}  # clients know the initial weights
    assert server.aggregate(1, {0: averages(1.0, 2.0), 1: averages(5.0, 6.0)}, {0: 3, 1: 1}) == averages(2.0, 3.0)
    assert set(server.send_to(3, 2)) == set(server.send_to(3, 2, "score")) == {CUT}
    server.aggregate(2, {2: averages(8.0, 9.0)})
    shared = server.aggregate(3, {0: {"first.weight": torch.tensor([7.0])}})
    assert shared == {"first.weight": 7.0}
    for purpose in ("train", "score"):
        assert server.send_to(3, 4, purpose) == {CUT: 1, "second.weight": 9.0}
        assert all(server.send_to(client, 4, purpose) == {CUT: 1} for client in (0, 1, 2))


def test_a_stage_that_enters_later_begins_with_the_clients_own() -> None:
    """From shallow to deep: what was never averaged is not sent, so that it does not set clients back."""
    server = half(dropping_set=(1, 2), dropping_interval=1)
    server.aggregate(1, {0: {"first.weight": torch.tensor([7.0])}})
    assert server.state.shared == {"first.weight": 7.0}
    assert server.send_to(0, 2) == {CUT: 2}
    assert server.aggregate(2, {0: averages(1.0, 2.0)}) == averages(1.0, 2.0)


@pytest.mark.parametrize("cuts", ["[2,1]", "[1,2]"])
@pytest.mark.parametrize("options", [[], ["strategy.vote=validation"], ["unseen=0.25"]])
def test_clients_that_train_late_or_never_are_served(cuts: str, options: list[str], federate) -> None:
    few = ["participation=0.25", "rounds=6", "strategy.dropping_interval=2"]
    run = federate(*BOTH, *few, f"strategy.dropping_set={cuts}", *options)
    assert personal(run).loss.notna().all()
    assert set(run.scores.client) == set(range(4))


def test_own_heads_do_not_depend_on_what_others_know() -> None:
    """With shared weights the trunk is common; the heads, and what they say, are still each client's own."""
    rows = {
        client: Knowledge(torch.tensor([[h]]), torch.full((1, 2), 0.5), torch.tensor([label]), torch.tensor([1])).wire()
        for client, h, label in ((0, 1.0, 0), (2, 5.0, 1))
    }
    weights = {"base.weight": torch.tensor([1.0])}
    together, alone = server(heads="own", share="both"), server(heads="own", share="both")
    together.aggregate(1, {client: {**knowledge, **weights} for client, knowledge in rows.items()})
    alone.aggregate(1, {2: {**rows[2], **weights}})
    assert together.state.heads[1].keys() == {0, 2}
    for half in (together, alone):
        assert half.state.shared == weights
    assert all(torch.equal(w, alone.state.heads[1][2][key]) for key, w in together.state.heads[1][2].items())
    assert torch.equal(together.state.soft_labels[2].q, alone.state.soft_labels[2].q)


@pytest.mark.parametrize("policy", ["local", "reset", "aggregate"])
def test_what_the_batch_norm_policy_keeps_is_neither_sent_nor_overwritten(policy: str, federate) -> None:
    small = ["model=resnet18", "model.norm=batch", "model.width=4", "partition.max_samples=80", "rounds=2"]
    recorder, run = record(federate, *BOTH, *small, f"batch_norm={policy}")
    sent = {key for reply in recorder.replies for key in reply.content.array_records[records.ARRAYS]}
    statistics, affine = (
        any(key.startswith("stem.1") and key.endswith(end) for key in sent) for end in ("var", "weight")
    )
    assert (statistics, affine) == {"aggregate": (True, True), "reset": (False, True), "local": (False, False)}[policy]
    assert run.scores.loss.notna().all()


@pytest.mark.parametrize("share", ["weights", "both"])
def test_models_of_several_architectures_share_no_weights(share: str, federate) -> None:
    with pytest.raises(UserError, match=rf"share={share} averages weights.*agree in what a cut puts out"):
        federate("strategy=fedd2s", f"strategy.share={share}", "model=mixed")


@pytest.mark.parametrize(
    ("stages", "knowledge", "weights"), [(5, (4, 3, 2, 1), (4, 3)), (4, (3, 2, 1), (3, 2)), (2, (1,), (1,))]
)
def test_with_shared_weights_the_deeper_half_is_dropped(stages: int, knowledge: object, weights: object) -> None:
    assert make().cuts(stages) == knowledge
    assert make(share="weights").cuts(stages) == make(share="both").cuts(stages) == weights
    assert make(share="both", dropping_set=(2, 1)).cuts(stages) == (2, 1)


def test_only_weights_can_be_shared_whole(config) -> None:
    make(share="weights", dropping_set=(2, 1)).check(three_parameters(), config())
    for share in ("knowledge", "both"):
        with pytest.raises(UserError, match="the model has no cut 2"):
            make(share=share, dropping_set=(2, 1)).check(three_parameters(), config())
