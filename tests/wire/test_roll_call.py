"""Who trains and who is scored: sampled clients, and those that never train."""

import pytest

from fedpers.progress import printer, result_table


def test_unseen_clients_never_train_and_are_scored_apart(federate) -> None:
    run = federate("strategy=fedper", "unseen=0.5", "rounds=3", "finetune_epochs=1")
    assert len(run.unseen) == 2
    train = run.traffic[run.traffic.phase == "train"]
    assert set(train.client) == set(range(4)) - run.unseen
    assert set(run.scores.client) == set(range(4))
    assert set(run.curve("personal", "test").columns) == set(range(4)) - run.unseen
    last = run.scores[(run.scores["round"] == 3) & (run.scores.split == "test") & (run.scores.model == "finetuned")]
    is_unseen = last.client.isin(run.unseen)
    for name, rows in (("last", last[~is_unseen]), ("unseen", last[is_unseen])):
        figures = run.summary[name]["test"]["finetuned"]
        assert figures["num_clients"] == 2
        assert figures["round"] == 3
        assert figures["mean"] == pytest.approx(rows.accuracy.mean())
    console = printer()
    with console.capture() as captured:
        console.print(result_table(run.summary, "title"))
    assert "unseen clients (3)" in captured.get()


def test_participation_is_a_share_of_those_that_may_train(federate) -> None:
    run = federate("unseen=0.5", "participation=0.5", "rounds=2")
    train = run.traffic[(run.traffic.phase == "train") & (run.traffic.direction == "up")]
    assert train.groupby("round").client.nunique().tolist() == [1, 1]


def test_without_unseen_clients_nothing_is_said_of_them(federate) -> None:
    assert "unseen" not in federate("rounds=1").summary
