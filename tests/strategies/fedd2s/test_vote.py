"""The head's vote by hand, chosen on validation, and in runs: it changes what is deployed and nothing else."""

import math

import pytest
import torch
from by_hand import sigmoid
from fedd2s_toys import KNOWLEDGE, head_with, make, server
from toys import make_task, three_parameters

from fedpers.errors import UserError
from fedpers.training import Split
from strategies.fedd2s.client import CUT, HEAD, POOLED
from strategies.fedd2s.vote import SHIFTS, VALIDATION, VOTES, Rule, label_shift, with_vote
from strategies.parts.exchange import Knowledge, View
from strategies.parts.heads import copied_weights

VIEW = View(pool=4, projection=None, temperature=2.0, seed=0)
X = torch.tensor([[1.0]])
NO_SHIFT = torch.zeros(2)
NONE = Split(torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64))


def one(label: int) -> Split:
    return Split(X, torch.tensor([label]))


def test_answers_are_mixed_as_probabilities() -> None:
    model = three_parameters(2.0, (1.0, -1.0))  # h = 2, logits 2 and -2
    head = head_with((0.0, 1.0))  # logits 0 and 2
    voting = with_vote(model, 1, head, VIEW, Rule(0.25, 1.0), NONE, NO_SHIFT)
    expected = 0.75 * sigmoid(4) + 0.25 * (1 - sigmoid(2))
    assert voting(X)[0].exp().tolist() == pytest.approx([expected, 1 - expected])
    for share, alone in ((0.0, model(X).log_softmax(1)), (1.0, torch.tensor([[0.0, 2.0]]).log_softmax(1))):
        voting = with_vote(model, 1, head, VIEW, Rule(share, 1.0), NONE, NO_SHIFT)
        torch.testing.assert_close(voting(X), alone)


def test_the_head_is_told_how_often_the_client_meets_each_class() -> None:
    """Own labels 0 0 1, pooled 0 1 1 1 1 1: π_k = (3/5, 2/5), π = (2/8, 6/8), each class with one sample more."""
    own = torch.tensor([0, 0, 1]).bincount(minlength=2)
    pooled = torch.tensor([0, 1]).bincount(torch.tensor([1, 5]), minlength=2).long()
    assert (own.tolist(), pooled.tolist()) == ([2, 1], [1, 5])
    shift = label_shift(own, pooled)
    assert shift.exp().tolist() == pytest.approx([(3 / 5) / (2 / 8), (2 / 5) / (6 / 8)])
    voting = with_vote(three_parameters(2.0), 1, head_with((0.0, 1.0)), VIEW, Rule(1.0, 1.0), NONE, shift)
    odds = math.exp(0) * (3 / 5) / (2 / 8), math.exp(2) * (2 / 5) / (6 / 8)  # the head's logits: 0 and 2
    assert voting(X)[0].exp().tolist() == pytest.approx([each / sum(odds) for each in odds])
    assert label_shift(pooled, pooled).tolist() == [0, 0]  # own heads learn from their client alone


def test_the_head_is_no_part_of_what_is_fine_tuned() -> None:
    model = three_parameters(2.0)
    voting = with_vote(model, 1, head_with((0.0, 1.0)), VIEW, Rule(0.5, 0.0), NONE, NO_SHIFT)
    assert {id(p) for p in voting.parameters()} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize(("val", "share"), [(one(0), 0.0), (one(1), max(VOTES)), (NONE, 0.5)])
def test_validation_chooses_for_each_client(val: Split, share: float) -> None:
    """The client's model is sure of class 0, the head leans to class 1; without samples it takes what is usual."""
    model, head = three_parameters(2.0, (1.0, -1.0)), head_with((0.0, 1.0))
    assert with_vote(model, 1, head, VIEW, Rule(VALIDATION, 0.0), val, NO_SHIFT)[-1].share == share


@pytest.mark.parametrize(("val", "strength"), [(one(0), 1.0), (one(1), 0.0), (NONE, 1.0)])
def test_validation_chooses_how_far_the_head_is_corrected(val: Split, strength: float) -> None:
    """The client meets class 0 more often; of one sample of class 1 the head says more as it is."""
    shift = torch.tensor([1.0, -1.0])
    voting = with_vote(three_parameters(), 1, head_with((0.0, 0.0)), VIEW, Rule(0.5, VALIDATION), val, shift)
    assert voting[-1].shift.tolist() == [strength, -strength]
    assert voting[-1].share == 0.5


def test_of_equal_votes_the_smallest_is_chosen() -> None:
    rule = Rule(VALIDATION, VALIDATION)
    voting = with_vote(three_parameters(2.0, (0.0, 0.0)), 1, head_with((0.0, 0.0)), VIEW, rule, one(1), NO_SHIFT)
    assert voting[-1].share == 0
    assert rule.candidates()[0] == (0, 1)
    assert len(rule.candidates()) == len(VOTES) * len(SHIFTS)


def test_the_head_is_sent_to_be_scored_with_only_if_it_votes() -> None:
    rows = Knowledge(torch.tensor([[1.0]]), torch.full((1, 2), 0.5), torch.tensor([0]), torch.tensor([1]))
    for changes, training in (({"vote": 0.3}, True), ({"vote": 0.3, "feedback": "soft_labels"}, False)):
        half = server(**changes)
        assert set(half.send_to(0, 1, "score")) == {CUT}  # nobody was heard yet
        half.aggregate(1, {0: rows.wire()})
        names = {HEAD + key for key in half.state.heads[1][-1]}
        assert set(half.send_to(3, 1, "score")) == {CUT, POOLED} | names
        assert half.send_to(3, 1, "score")[POOLED].tolist() == [1, 0]
        assert POOLED not in half.send_to(3, 2)
        assert (names <= set(half.send_to(3, 2))) == training
    silent = server(vote=0.0)
    silent.aggregate(1, {0: rows.wire()})
    assert silent.send_to(0, 1, "score") == {}


def test_a_client_without_a_head_has_its_own_model() -> None:
    algorithm, model = make(vote=0.5), three_parameters(2.0, (1.0, -1.0))
    task = make_task(model, algorithm, [[1.0]], [0], received={CUT: torch.tensor(1)})
    assert algorithm.personalize(task) is task.model
    head = {HEAD + key: tensor for key, tensor in copied_weights(head_with((0.0, 1.0))).items()}
    received = {CUT: torch.tensor(1), POOLED: torch.tensor([1, 1]), **head}
    task = make_task(model, algorithm, [[1.0]], [0], received=received)
    for strength, odds in ((1.0, 2.0), (0.5, 2**0.5), (0.0, 1.0)):  # of class 0: own labels, with one more, 2 and 1
        common = odds / (odds + math.exp(2))
        answer = make(vote=0.5, vote_shift=strength).personalize(task)(X)[0, 0].exp()
        assert float(answer.detach()) == pytest.approx(0.5 * sigmoid(4) + 0.5 * common)
    assert make(vote=0.0).personalize(task) is task.model


@pytest.mark.parametrize("vote", ["0.4", "validation"])
def test_a_vote_changes_what_is_deployed_and_nothing_else(vote: str, federate) -> None:
    plain, voting = federate(*KNOWLEDGE), federate(*KNOWLEDGE, f"strategy.vote={vote}")
    assert not plain.scores.equals(voting.scores)
    assert plain.diagnostics.equals(voting.diagnostics)
    kept = ["round", "client", "direction", "kind", "bytes"]
    of_training = [run.traffic[run.traffic.phase == "train"][kept].reset_index(drop=True) for run in (plain, voting)]
    assert of_training[0].equals(of_training[1])
    assert voting.scores.loss.map(math.isfinite).all()


@pytest.mark.parametrize("options", [["model=mixed", "strategy.projection=4"], ["strategy.heads=own"], ["unseen=0.25"]])
def test_it_votes_beside_other_options(options: list[str], federate) -> None:
    run = federate(*KNOWLEDGE, "strategy.vote=0.5", "participation=0.5", "finetune_epochs=1", *options)
    assert run.scores.loss.notna().all()
    assert set(run.scores.client) == set(range(4))


@pytest.mark.parametrize("vote", [-0.1, 1.1, "val"])
def test_what_is_no_vote(vote: object) -> None:
    for key in ("vote", "vote_shift"):
        with pytest.raises(UserError, match=rf"strategy\.{key}=.* Accepted: a number from 0 to 1, or validation"):
            make(**{key: vote})


def test_a_vote_by_validation_is_possible_without_samples(federate) -> None:
    without = "splits=[0.75,0,0.25]"
    chosen = federate(*KNOWLEDGE, "strategy.vote=validation", without).scores
    assert chosen.equals(federate(*KNOWLEDGE, "strategy.vote=0.5", without).scores)
