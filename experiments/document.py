"""The accuracies that README and docs/algorithms.md tell, from studies' tables: `python -m experiments.document`.

A test compares, so that no page can tell other figures than the committed results do.
"""

import csv
import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "algorithms.md"
TABLE = ROOT / "experiments" / "results" / "comparison-laptop" / "comparison.csv"
README = ROOT / "README.md"
QUICKSTART = ROOT / "experiments" / "results" / "quickstart-laptop" / "quickstart.csv"
HEADER = "| quickstart | accuracy | worst 10 % |"
"""What README's table begins with."""

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
            numbers = f"{float(row['accuracy_mean']):.1f} / {float(row['worst_10pct_mean']):.1f}"
            found.setdefault(named[1], {}).setdefault(row["condition"], {})[row["method"]] = numbers
    return {name: [_cell(conditions[condition]) for condition in CONDITIONS] for name, conditions in found.items()}


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
    before, header, after = page.partition(HEADER + "\n")
    rest = after.splitlines()
    end = next((number for number, line in enumerate(rest) if not line.startswith("|")), len(rest))
    return before + header + "\n".join([rest[0], *told, *rest[end:]]) + "\n"


def main() -> int:
    """Write the pages."""
    PAGE.write_text(renewed(PAGE.read_text(), cells()))
    README.write_text(quickstart(README.read_text()))
    sys.stdout.write(f"{PAGE}\n{README}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
