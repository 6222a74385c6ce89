"""The accuracies that README and pages of docs/ tell, from studies' tables: `python -m experiments.document`.

A test compares, so that no page can tell other figures than the committed results do.
"""

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "algorithms.md"
TABLE = ROOT / "experiments" / "results" / "comparison-laptop" / "comparison.csv"
README = ROOT / "README.md"
QUICKSTART = ROOT / "experiments" / "results" / "quickstart-laptop" / "quickstart.csv"
HEADER = "| quickstart | accuracy | worst 10 % |"
"""What README's table begins with."""

FLAGSHIP = ROOT / "docs" / "fedd2s.md"
GROUNDS = {
    "Fashion-MNIST 0.5": ("laptop", "Dirichlet 0.5"),
    "Fashion-MNIST 0.1": ("laptop", "Dirichlet 0.1"),
    "CIFAR-10 0.5": ("cifar10", "Dirichlet 0.5"),
    "CIFAR-10 0.1": ("cifar10", "Dirichlet 0.1"),
    "glyphs": ("glyphs", "natural writers"),
}
"""What the flagship's page has a column for: the comparison's scale and the condition there."""
TOLD = (
    "FedD2S+",
    "FedD2S+, own heads",
    "FedD2S, vote",
    "FedD2S",
    "FedD2S, own heads",
    "FedPAC",
    "kNN-Per",
    "FedRep",
    "FedALA",
    "FedRoD",
    "FedPer",
    "FedAvg + FT",
    "FedAvg",
    "Local",
)
"""Its rows: all that is FedD2S, what comes close to it, and what everybody knows."""

CONDITIONS = ("Dirichlet 0.5", "Dirichlet 0.1")
WORDING = {"FT": "fine-tuned"}
"""What the page calls a second arm of a strategy, where not as the comparison does."""

_ROW = re.compile(r"^\| `(\w+)` \|")
_STRATEGY = re.compile(r"\bstrategy=(\w+)")


def cells(table: Path = TABLE) -> dict[str, list[str]]:
    """Return what is told of each strategy, by condition: accuracy / worst tenth, and that of its further arms."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    with table.open() as lines:
        for row in csv.DictReader(lines):
            named = _STRATEGY.search(row["overrides"])
            assert named is not None, row["method"]
            found.setdefault(named[1], {}).setdefault(row["condition"], {})[row["method"]] = _numbers(row)
    return {name: [_cell(conditions[condition]) for condition in CONDITIONS] for name, conditions in found.items()}


def _numbers(row: Mapping[str, str]) -> str:
    """Return accuracy / worst tenth."""
    return f"{float(row['accuracy_mean']):.1f} / {float(row['worst_10pct_mean']):.1f}"


def _cell(arms: Mapping[str, str]) -> str:
    """Return a cell; arms after the first are called by what their names add to its name."""
    (first, numbers), *others = arms.items()
    added = ((name.removeprefix(first).strip(" ,+"), told) for name, told in others)
    return "; ".join([numbers, *(f"{WORDING.get(name, name)} {told}" for name, told in added)])


def renewed(page: str, told: Mapping[str, list[str]]) -> str:
    """Return the page with the last cells of its table as they should be; – for what was not compared."""
    lines = page.splitlines()
    for number, line in enumerate(lines):
        if row := _ROW.match(line):
            kept = line.strip(" |").split(" | ")[: -len(CONDITIONS)]
            lines[number] = f"| {' | '.join([*kept, *told.get(row[1], ['–'] * len(CONDITIONS))])} |"
    return "\n".join(lines) + "\n"


def quickstart(page: str, table: Path = QUICKSTART) -> str:
    """Return README with the rows of its table as they should be: the methods, the best first."""
    with table.open() as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: -float(row["accuracy_mean"]))
    told = [
        f"| {row['method']} | {float(row['accuracy_mean']):.1f} | {float(row['worst_10pct_mean']):.1f} |"
        for row in rows
    ]
    return with_rows(page, HEADER, told)


def with_rows(page: str, header: str, told: Sequence[str]) -> str:
    """Return a page with other rows in the table that has this header."""
    before, header, after = page.partition(header + "\n")
    rest = after.splitlines()
    end = next((number for number, line in enumerate(rest) if not line.startswith("|")), len(rest))
    return before + header + "\n".join([rest[0], *told, *rest[end:]]) + "\n"


def flagship(page: str, results: Path = ROOT / "experiments" / "results") -> str:
    """Return FedD2S' page with accuracy / worst tenth on every ground; – for what was not compared there."""
    found: dict[tuple[str, str], str] = {}
    for ground, (scale, condition) in GROUNDS.items():
        with (results / f"comparison-{scale}" / "comparison.csv").open() as lines:
            for row in csv.DictReader(lines):
                if row["condition"] == condition:
                    found[row["method"], ground] = _numbers(row)
    told = [f"| {name} | {' | '.join(found.get((name, ground), '–') for ground in GROUNDS)} |" for name in TOLD]
    return with_rows(page, flagship_header(), told)


def flagship_header() -> str:
    """Return what that table begins with."""
    return f"| | {' | '.join(GROUNDS)} |"


def main() -> int:
    """Write the pages."""
    PAGE.write_text(renewed(PAGE.read_text(), cells()))
    README.write_text(quickstart(README.read_text()))
    FLAGSHIP.write_text(flagship(FLAGSHIP.read_text()))
    sys.stdout.write(f"{PAGE}\n{README}\n{FLAGSHIP}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
