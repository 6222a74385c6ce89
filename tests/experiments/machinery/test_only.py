"""`only=` adds rows to a finished table or renews them; kept ones come out again, or nothing is written."""

import csv
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from studies import study, table

from experiments.machinery import figures
from experiments.machinery.command import main, read
from experiments.machinery.scales import LOCAL, dirichlet
from experiments.machinery.study import Arm, Scale, Study
from fedpers.errors import UserError

COMMON = (
    "dataset=digits",
    "partition.num_clients=4",
    "partition.max_samples=200",
    "splits=[0.45,0.2,0.35]",
    "model=mlp",
    "model.hidden=[16]",
    "rounds=2",
    "finetune_epochs=0",
)
LRS = (("lr", (0.1, 0.3)),)
ARMS = (
    Arm("FedAvg", ("strategy=fedavg",), grid=(*LRS, ("local_epochs", (1, 2)))),  # whole numbers stay whole
    Arm("FedPer, by name", ("strategy=fedper",), grid=LRS, closely=True),
    dataclasses.replace(LOCAL, grid=LRS),
)
SCALE = Scale(COMMON, ARMS, dirichlet(0.5, 1.0), (0, 1), tuning_seeds=(100,), more_seeds=(2,), num_best=1)
STUDY = Study(
    "only", "Which rows are run?", {"smoke": SCALE}, lambda found, folder: figures.dots(found, folder, "only")
)


@pytest.fixture
def conduct(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the study without any runs of before; return the exit code and what it said on standard error."""

    def run(*overrides: str) -> tuple[int, str]:
        shutil.rmtree(tmp_path / "out" / "runs", ignore_errors=True)
        code = main(STUDY, [f"out={tmp_path / 'out'}", f"cache={cache}", *overrides])
        return code, capsys.readouterr().err

    return run


def files(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "out").glob("only*") if path.suffix != ".md"}


def ran(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "out" / "runs").iterdir() if path.is_dir()}


def change(path: Path, method: str, column: str, value: str) -> None:
    lines = table(path.parent, path.stem)
    for line in lines:
        line[column] = value if line["method"] == method else line[column]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def test_a_row_that_is_added_makes_the_table_of_the_whole_study(tmp_path: Path, conduct) -> None:
    """Table, tuning and figure, to the last byte; of the kept rows only the checks are run."""
    assert conduct()[0] == 0
    whole = files(tmp_path)
    shutil.rmtree(tmp_path / "out")
    assert conduct("only=FedAvg")[0] == 0
    page = (tmp_path / "out" / "only.md").read_text()
    assert "Run so far: FedAvg, Local." in page
    assert "FedPer" not in page.partition("| --- |")[2]
    assert conduct("only=fedper, by name")[0] == 0
    assert files(tmp_path) == whole
    assert {name for name in ran(tmp_path) if name.startswith("fedavg")} == {
        name for name in ran(tmp_path) if name.startswith("fedavg,dirichlet-0.5,") and name.endswith("seed=0")
    }
    page = (tmp_path / "out" / "only.md").read_text()
    assert "This command ran FedPer, by name. The other rows are from before" in page


def test_a_kept_row_that_does_not_come_out_stops_everything(tmp_path: Path, conduct) -> None:
    assert conduct()[0] == 0
    change(tmp_path / "out" / "only.csv", "FedAvg", "accuracy_seed_0", "99.5")
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("only*")}
    code, told = conduct("only=FedPer, by name")
    assert code == 2
    assert "FedAvg, Dirichlet 0.5, seed 0: 99.5 then" in told
    assert "Nothing was written. Run them again too, with only=FedAvg" in told
    assert {path: path.read_bytes() for path in before} == before
    code, told = conduct("only=FedPer, by name", "rounds=1")  # all of the table is of another configuration
    assert code == 2
    assert "Local, Dirichlet 0.5, seed 0" in told
    assert "Local, Dirichlet 1, seed 1" in told


def test_a_method_that_was_defined_otherwise_is_not_kept(tmp_path: Path, conduct) -> None:
    assert conduct("only=FedAvg,Local")[0] == 0
    change(tmp_path / "out" / "only.csv", "FedAvg", "overrides", "strategy=fedprox")
    code, told = conduct("only=Local")
    assert code == 2
    assert "FedAvg, Dirichlet 0.5 was run with strategy=fedprox" in told
    assert conduct("only=FedAvg")[0] == 0


def test_further_seeds_for_what_is_looked_at_closely(tmp_path: Path, conduct) -> None:
    """Arms that say so, and the best in tuning; paired differences are over the seeds that both have."""
    assert conduct()[0] == 0
    rows = table(tmp_path / "out", "only")
    seeds = {(row["condition"], row["method"]): row["num_seeds"] for row in rows}
    for condition in ("Dirichlet 0.5", "Dirichlet 1"):
        assert seeds[condition, "FedPer, by name"] == "3"
        assert sorted(seeds[condition, name] for name in ("FedAvg", "Local")) == ["2", "3"]
    page = (tmp_path / "out" / "only.md").read_text()
    assert (
        "and seeds 0, 1; further ones, 2, for FedPer, by name and under each condition the 1 with the highest" in page
    )
    first = [row for row in rows if row["condition"] == "Dirichlet 0.5"]
    for column, measure in ((2, "accuracy"), (5, "worst_10pct")):
        best = max(first, key=lambda row: float(row[f"{measure}_mean"]))
        for row in first:
            shown = page.partition(f"| Dirichlet 0.5 | {row['method']} |")[2].split("|")[column].strip()
            both = [s for s in "012" if row[f"{measure}_seed_{s}"] and best[f"{measure}_seed_{s}"]]
            apart = [float(row[f"{measure}_seed_{s}"]) - float(best[f"{measure}_seed_{s}"]) for s in both]
            assert shown == "–" if row is best else shown.startswith(f"{sum(apart) / len(apart):+.1f} ±")


def test_names_with_commas_are_names() -> None:
    def named(text: str) -> tuple[str, ...]:
        return read(STUDY, [f"only={text}"]).only

    assert named("local,FedPer, by name,FEDAVG") == ("Local", "FedPer, by name", "FedAvg")
    with pytest.raises(UserError, match=r"unknown method in only: 'FedPre'. Did you mean"):
        named("Local,FedPre")


def test_what_is_read_from_runs_needs_all_of_them() -> None:
    for name in ("convergence", "pfllib", "quickstart"):
        with pytest.raises(UserError, match=rf"only=Local is not possible: what {name} shows is read from all"):
            read(study(name), ["only=Local"])
