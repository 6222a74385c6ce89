"""Which runs make one curve, and how curves are called."""

from pathlib import Path

from pictured import write_run

from fedpers.results import Run
from plots.groups import group_runs


def names_of(*runs: Run) -> list[str]:
    return [group.label for group in group_runs(list(runs))]


def test_runs_that_differ_in_more_than_their_seed_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    folders = {
        f"partition.alpha={alpha},strategy=fedavg,seed={seed}": (alpha, seed) for alpha in (0.1, 1.0) for seed in (0, 1)
    }
    runs = [write_run(tmp_path / f, seed=s, partition={"alpha": a}) for f, (a, s) in folders.items()]
    runs.append(write_run(tmp_path / "strategy=local", strategy="local"))
    assert names_of(*runs) == [
        "fedavg, partition.alpha=0.1 (2 seeds)",
        "fedavg, partition.alpha=1.0 (2 seeds)",
        "local",
    ]


def test_folders_of_one_name_are_told_apart_by_those_above(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / parent / "strategy=fedavg", lr=lr) for parent, lr in (("a", 0.1), ("b", 0.2))]
    assert names_of(*runs) == ["fedavg, a", "fedavg, b"]


def test_a_seed_in_the_folder_is_named_where_nothing_else_differs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"seed={seed}", seed=seed, lr=0.1 + seed) for seed in (0, 1)]
    assert names_of(*runs) == ["fedavg, seed=0", "fedavg, seed=1"]


def test_what_changes_no_result_does_not_part_seeds(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", seed=0, out="a", quiet=True, engine={"num_threads": 1})
    b = write_run(tmp_path / "b", seed=1, out="b", quiet=False, engine={"num_threads": 8})
    assert names_of(a, b) == ["fedavg (2 seeds)"]


def test_a_repeated_run_is_a_curve_of_its_own_but_a_run_given_twice_is_not(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    assert names_of(a, b) == ["fedavg, a", "fedavg, b"]
    assert names_of(a, Run(tmp_path / "b" / ".." / "a")) == ["fedavg"]


def test_a_run_without_a_strategy_is_called_by_its_folder(tmp_path: Path) -> None:
    assert names_of(write_run(tmp_path / "mine", strategy=None)) == ["mine"]
