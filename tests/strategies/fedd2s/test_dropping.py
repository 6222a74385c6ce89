"""Adaptive dropping: on a scripted sequence, then in a run."""

from fedd2s_toys import KNOWLEDGE

from strategies.fedd2s.dropping import AdaptiveDropping


def test_adaptive_dropping_on_a_scripted_sequence() -> None:
    # patience 2, min_delta 0.01. Round 1: 0.50 (best). 2: 0.505 no rise. 3: 0.50, two rounds without: cut 2, best 0.50.
    # 4: 0.52 rise. 5: 0.52 no rise. 6: 0.55 rise. 7: 0.55, 8: 0.54: cut 1. 9, 10, 11: nothing left to drop.
    set_of_cuts, dropping = (3, 2, 1), AdaptiveDropping()
    accuracies = [0.50, 0.505, 0.50, 0.52, 0.52, 0.55, 0.55, 0.54, 0.5, 0.5, 0.5]
    cuts = []
    for round, accuracy in enumerate(accuracies, start=1):
        before = dropping
        dropping = dropping.observe(round, accuracy, patience=2, min_delta=0.01, last=2)
        assert before == dropping or before is not dropping  # the old one stays as it was
        cuts.append(set_of_cuts[dropping.index])
    assert cuts == [3, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1]


def test_adaptive_dropping_in_a_run(federate) -> None:
    """A rise of more than 1 is impossible, so with patience 1 a cut is dropped after every round from the second on."""
    adaptive = [
        *KNOWLEDGE,
        "strategy.dropping=adaptive",
        "strategy.patience=1",
        "strategy.min_delta=2",
        "rounds=4",
    ]
    table = federate(*adaptive).diagnostics
    assert table[table.name == "active_cut"].value.tolist() == [2, 2, 1, 1]
