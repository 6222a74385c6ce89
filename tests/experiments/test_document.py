"""The algorithms page tells the committed results, whose figures come from there alone."""

from pathlib import Path

from experiments import document
from fedpers.config.compose import group_choices

CSV = """\
condition,method,overrides,accuracy_mean,worst_10pct_mean
Dirichlet 0.5,FedAvg,partition=a strategy=fedavg,75.04,50
Dirichlet 0.5,FedAvg + FT,partition=a strategy=fedavg,80.06,60.55
Dirichlet 0.1,FedAvg,partition=b strategy=fedavg,70,40
Dirichlet 0.1,FedAvg + FT,partition=b strategy=fedavg,90,80
Dirichlet 0.5,"FedD2S",strategy=fedd2s,1,2
Dirichlet 0.1,"FedD2S",strategy=fedd2s,3,4
Dirichlet 0.5,"FedD2S, own heads",strategy=fedd2s strategy.heads=own,5,6
Dirichlet 0.1,"FedD2S, own heads",strategy=fedd2s strategy.heads=own,7,8
"""


def test_the_page_tells_what_the_comparison_found() -> None:
    page = document.PAGE.read_text()
    assert document.renewed(page, document.cells()) == page
    rows = [line.split("`")[1] for line in page.splitlines() if document._ROW.match(line)]
    assert set(rows) == {name for name in group_choices("strategy") if not name.startswith("flower_")}
    assert set(document.cells()) == set(rows) - {"fedbn"}  # no BatchNorm there, so it is FedAvg


def test_cells_by_strategy_and_condition(tmp_path: Path) -> None:
    table = tmp_path / "comparison.csv"
    table.write_text(CSV)
    assert document.cells(table) == {
        "fedavg": ["75.0 / 50.0; fine-tuned 80.1 / 60.5", "70.0 / 40.0; fine-tuned 90.0 / 80.0"],
        "fedd2s": ["1.0 / 2.0; own heads 5.0 / 6.0", "3.0 / 4.0; own heads 7.0 / 8.0"],
    }


def test_only_the_last_cells_of_rows_of_strategies_are_written() -> None:
    page = "| `a` | x | 1 | 2 |\n| b | 1 | 2 |\n| `c` | 1 | 2 |\n"
    assert document.renewed(page, {"a": ["3", "4"]}) == "| `a` | x | 3 | 4 |\n| b | 1 | 2 |\n| `c` | – | – |\n"


def test_readme_tells_what_the_committed_table_tells() -> None:
    page = document.README.read_text()
    assert document.quickstart(page) == page
    assert document.HEADER in page


def test_readmes_table_is_renewed_the_best_first(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("method,accuracy_mean,worst_10pct_mean\nA,1.04,2\nB,3,4.05\n")
    page = f"before\n\n{document.HEADER}\n|---|---|---|\n| A | 0 | 0 |\n\nafter\n"
    assert document.quickstart(page, table) == page.replace("| A | 0 | 0 |", "| B | 3.0 | 4.0 |\n| A | 1.0 | 2.0 |")


def test_the_flagships_page_tells_what_the_comparisons_found() -> None:
    page = document.FLAGSHIP.read_text()
    assert document.flagship_header() in page
    assert document.flagship(page) == page


def test_the_flagships_table_has_a_dash_for_what_was_not_run(tmp_path: Path) -> None:
    for scale, condition in (("laptop", "Dirichlet 0.1"), ("cifar10", "Dirichlet 0.5"), ("glyphs", "natural writers")):
        (tmp_path / f"comparison-{scale}").mkdir()
        lines = "condition,method,accuracy_mean,worst_10pct_mean\n" + f"{condition},FedPer,80.04,60.06\n"
        (tmp_path / f"comparison-{scale}" / "comparison.csv").write_text(lines)
    page = f"before\n\n{document.flagship_header()}\n|---|\n| old |\n\nafter\n"
    found = document.flagship(page, tmp_path)
    assert "| FedPer | – | 80.0 / 60.1 | 80.0 / 60.1 | – | 80.0 / 60.1 |\n" in found
    assert "| Local | – | – | – | – | – |\n\nafter\n" in found
    assert "old" not in found
