"""What the runs of a sweep say together: a table by setting."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from fedpers.progress import PlainTable, scored
from fedpers.results import Run, metrics
from fedpers.results.sweeps import Member
from fedpers.scratch import replaced

SEED = "seed"
COLUMNS = ("setting", "seeds", "clients", "accuracy", "± 95 %", "worst 10 %", "± 95 %")


def by_setting(runs: Mapping[str, Run], members: Mapping[str, Member]) -> list[dict[str, Any]]:
    """Return a row for each setting: what was swept but for the seed, and means over seeds with 95 % intervals.

    Accuracy and that of the worst tenth of the clients are of personal models on test samples after the last round.

    Args:
        runs: Those that have ended, by job.
        members: All jobs.
    """
    groups: dict[str, list[Run]] = {}
    for name, run in runs.items():
        setting = ",".join(f"{key}={value}" for key, value in members[name].swept.items() if key != SEED)
        groups.setdefault(setting or "all", []).append(run)
    rows = []
    for setting, group in groups.items():
        last = [run.summary["last"]["test"]["personal"] for run in group]
        fewest = min(last, key=lambda figures: figures["num_clients"] / figures.get("of_clients", 1))
        row: dict[str, Any] = {"setting": setting, "seeds": len(group), "clients": scored(fewest)}
        for measure, key in (("accuracy", "mean"), ("worst_10pct", "worst_10pct")):
            values = [float(figures[key]) for figures in last]
            low, high = metrics.confidence_interval(values)
            row |= {measure: sum(values) / len(values), f"{measure}_low": low, f"{measure}_high": high}
        rows.append(row)
    return rows


def write_tables(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write the rows as `sweep.csv` and `sweep.md`."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}", *map(_line, rows)]
    written = []
    for name, content in (("sweep.csv", text.getvalue()), ("sweep.md", "\n".join(lines) + "\n")):
        with replaced(folder / name) as scratch:
            scratch.write_text(content)
        written.append(folder / name)
    return written


def _line(row: Mapping[str, Any]) -> str:
    """Return a row of Markdown; a bar in a name would begin another cell."""
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in _cells(row))} |"


def terminal_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the rows as a table for a terminal."""
    table = PlainTable("By setting, mean over seeds", COLUMNS, wraps=True)
    for row in rows:
        table.add(*_cells(row))
    return table


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = [str(row["setting"]), str(row["seeds"]), str(row["clients"])]
    for measure in ("accuracy", "worst_10pct"):
        half = (row[f"{measure}_high"] - row[f"{measure}_low"]) / 2
        cells += [f"{100 * row[measure]:.1f} %", f"{100 * half:.1f}" if row["seeds"] > 1 else "–"]
    return cells
