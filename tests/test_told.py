"""What a run tells of itself: settings without effect, clients that were not scored, names as they are."""

from pathlib import Path

import pytest
from federations import TINY

from fedpers.results import Run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["strategy.dropping=none", "strategy.patience=3"], ["strategy.patience=3", "strategy.dropping=none"]),
        (["strategy.share=weights", "strategy.mu=0.5"], ["strategy.mu=0.5", "strategy.share=weights"]),
        (["strategy.vote=0", "strategy.vote_shift=0.5"], ["strategy.vote_shift=0.5", "strategy.vote=0"]),
        (["strategy.dropping=none"], []),
        (["strategy.patience=3", "strategy.dropping=adaptive"], []),
    ],
)
def test_a_setting_without_effect_is_named(words: list[str], expected: list[str], cli, caplog) -> None:
    """It looks as if it had been tried."""
    small = [text for text in TINY if not text.startswith("rounds")]
    code, _, err = cli(*small, "strategy=fedd2s", "rounds=1", "quiet=true", "out=run", *words)
    assert code == 0, err
    said = [record.getMessage() for record in caplog.records if "has no effect" in record.getMessage()]
    assert said == ([f"{expected[0]} has no effect with {expected[1]}"] if expected else [])


UNSCORED = ["plugins=[toys]", "strategy=fedavg", "strategy._target_=toys.Unscored", "rounds=1", "quiet=true"]


def test_clients_that_were_not_scored_are_counted_wherever_a_mean_is(cli) -> None:
    """The mean of those that are left looks as good as that of all."""
    small = [text for text in TINY if not text.startswith(("rounds", "strategy"))]
    code, out, err = cli(*small, *UNSCORED, "out=run")
    assert code == 0, err
    assert "2 of 4" in out
    assert "over 4 clients" not in out
    figures = Run("run").summary["last"]["test"]["personal"]
    assert (figures["num_clients"], figures["of_clients"]) == (2, 4)
    code, out, err = cli("--multirun", *small, *UNSCORED, "seed=0,1", "out=sweep")
    assert code == 0, err
    assert out.count("2 of 4") >= 5  # each job's table, the comparison's two rows, the setting's
    assert "| all | 2 | 2 of 4 |" in Path("sweep/sweep.md").read_text()


def test_a_run_that_is_never_scored_ends_well(cli) -> None:
    small = [text for text in TINY if not text.startswith(("rounds", "eval_every"))]
    code, out, err = cli(*small, "strategy=fedper", "rounds=2", "eval_every=0", "out=run", "quiet=true")
    assert code == 0, err
    assert "no round was scored (eval_every=0)" in out
    code, out, err = cli("--multirun", *small, "rounds=1", "eval_every=0", "seed=0,1", "out=sweep", "quiet=true")
    assert code == 0, err
    assert "no round of any job was scored" in out


def test_what_stands_in_brackets_is_no_markup(cli) -> None:
    small = [text for text in TINY if not text.startswith(("rounds", "strategy"))]
    sweep = ["strategy=fedper", "strategy.personal=[head],[fc1,head]", "rounds=1", "out=sweep", "quiet=true"]
    code, out, err = cli("--multirun", *small, *sweep)
    assert code == 0, err
    rows = [line for line in out.splitlines() if line.strip().startswith("strategy.personal=[head]")]
    assert len(rows) == 3  # the job's title, and a row in each of two tables
    assert "| strategy.personal=[fc1,head] |" in Path("sweep/sweep.md").read_text()


def test_a_batch_norm_that_cannot_train_is_refused_before_the_run(cli) -> None:
    """Every client would fail, or train on nothing."""
    model = ["model=resnet18", "model.width=4", "model.norm=batch", "batch_size=1", "rounds=1", "out=run"]
    code, _, err = cli("dataset=digits", "partition=iid", "partition.num_clients=4", *model)
    assert code == 2
    assert err.startswith("error: batch_size=1 is not possible with this model's BatchNorm (Expected more than 1 value")
    assert "model.norm=group" in err
    assert not Path("run").exists()
