"""How a run shows itself in a terminal: a progress bar, or one line for each evaluation, and a table at the end."""

import importlib.util
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fedpers.faults.base import SIMULATED
from fedpers.rows import MODELS, Entry, Row, mean_accuracy, metric_rank


class Reporter(Protocol):
    """Is told how a run gets on."""

    def goes_on(self, round: int) -> None:
        """A run goes on after a round; 0: it has no checkpoint and starts over."""

    def round_done(self, round: int, rows: list[Row], entries: list[Entry]) -> None:
        """A round has ended; without evaluation `rows` is empty."""


class Silent:
    """Says nothing."""

    def goes_on(self, round: int) -> None:
        """Do nothing."""

    def round_done(self, round: int, rows: list[Row], entries: list[Entry]) -> None:
        """Do nothing."""


class Bar:
    """Shows a progress bar from entry to exit, if a subclass has made one."""

    _bar: Progress | None = None

    def __enter__(self) -> Self:
        """Start the bar."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the bar, whatever happened."""
        if self._bar:
            self._bar.stop()


class Display(Bar):
    """Reports a run's rounds on standard error.

    Args:
        title: What the run is called.
        rounds: Number of rounds.
        quiet: One line for each evaluation instead of a bar; also when standard error is no terminal.
    """

    def __init__(self, title: str, rounds: int, *, quiet: bool) -> None:
        """Prepare the bar."""
        self.console = Console(stderr=True, highlight=False)
        self._title, self._rounds = title, rounds
        self._has_diverged = False
        if not quiet and (self.console.is_terminal or _is_notebook(self.console)):
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("round {task.completed}/{task.total}"),
                TextColumn("{task.fields[accuracy]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(title, total=rounds, accuracy="")

    def goes_on(self, round: int) -> None:
        """Say that the run goes on after a round."""
        where = f"goes on after round {round} of {self._rounds}" if round else "has no checkpoint and starts over"
        self.console.print(f"{self._title}: {where}", markup=False)

    def round_done(self, round: int, rows: list[Row], entries: list[Entry]) -> None:
        """Show a finished round, every client that failed in it, and the first one in which a model diverged."""
        for entry in entries:
            if entry.error and not entry.error.startswith(SIMULATED):
                self.console.print(
                    f"round {round}: client {entry.client} failed to {entry.phase}: {entry.error}",
                    markup=False,
                )
        lost = {row.client for row in rows if row.metric == "loss" and not math.isfinite(row.value)}
        if lost and not self._has_diverged:
            self._has_diverged = True
            self.console.print(
                f"round {round}: training has diverged: models of {len(lost)} of {len({row.client for row in rows})} "
                "clients give no finite loss, and their accuracies mean nothing. A smaller lr helps most",
                markup=False,
            )
        accuracy = mean_accuracy(rows, "test")
        text = f"test accuracy {accuracy:.1%}" if accuracy is not None else None
        if self._bar:
            self._bar.update(self._task, completed=round)
            if text:
                self._bar.update(self._task, accuracy=text)
        elif text:
            self.console.print(f"{self._title}: round {round}/{self._rounds}, {text}", markup=False)


def _is_notebook(console: Console) -> bool:
    """Tell whether a bar can be shown below a notebook's cell."""
    return console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None


class PlainTable(Table):
    """A table of plain text: what stands in brackets, in the name of a class or a file, is no markup.

    Args:
        title: Stands above it.
        caption: Stands below it.
        columns: The columns' headers.
        left: So many columns are aligned to the left, all others to the right.
        wraps: Whether long cells may be broken.
    """

    def __init__(
        self, title: str, columns: Iterable[str], *, left: int = 1, caption: str = "", wraps: bool = False
    ) -> None:
        """Make an empty table."""
        super().__init__(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        self.padding = (0, 2, 0, 0)
        self.caption = Text(caption) if caption else None
        for number, column in enumerate(columns):
            self.add_column(Text(column), justify="left" if number < left else "right", no_wrap=not wraps)

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.add_row(*map(Text, cells))


def result_table(summary: dict[str, Any], title: str) -> Table:
    """Return a run's headline: each model's accuracy over clients on the test split."""
    columns = ("model", "round", "clients", "mean", "weighted", "std", "worst 10%", "best 10%", "Jain")
    table = PlainTable(title, columns, left=2)
    labels = {"last": "last", "validation_selected": "best val.", "unseen": "unseen clients", "attackers": "attackers"}
    for name, label in labels.items():
        for model in MODELS:
            figures = summary.get(name, {}).get("test", {}).get(model)
            if figures:
                keys = ("mean", "weighted", "std", "worst_10pct", "best_10pct")
                shares = [f"{figures[key]:.1%}" for key in keys]
                table.add(model, f"{label} ({figures['round']})", scored(figures), *shares, f"{figures['jain']:.3f}")
    return table


def scored(figures: Mapping[str, Any]) -> str:
    """Return how many clients stand behind a mean, and of how many where some could not be scored."""
    found, expected = int(figures["num_clients"]), int(figures.get("of_clients", figures["num_clients"]))
    return f"{found}" if found == expected else f"{found} of {expected}"


def metric_table(summary: dict[str, Any]) -> Table | None:
    """Return every metric's mean over clients on the test split in the last round; None where accuracy is the only one.

    A column for each model; in brackets over how many clients, where some of them have no value.
    """
    last = summary["last"]["test"]
    models = [model for model in MODELS if model in last]
    names = _other_metrics(last[model] for model in models)
    if not names:
        return None
    title = "Other metrics, test split, last round, mean over clients"
    table = PlainTable(title, ("metric", *models))
    table.min_width = len(title)
    for name in names:
        table.add(name, *(_mean(last[model], name) for model in models))
    return table


def _other_metrics(summaries: Iterable[dict[str, Any]]) -> list[str]:
    """Return the metrics beside the accuracy that any of some models' figures have, in their order."""
    return sorted({name for figures in summaries for name in figures.get("metrics", {})}, key=metric_rank)


def _mean(figures: dict[str, Any], name: str) -> str:
    """Return the mean of a metric other than the accuracy."""
    found = figures.get("metrics", {}).get(name)
    if not found:
        return "–"
    partly = found["num_clients"] < figures["num_clients"]
    return f"{found['mean']:.3f}" + (f" ({found['num_clients']} of {figures['num_clients']})" if partly else "")


def remarks(summary: Mapping[str, Any]) -> list[str]:
    """Return in words why a run ended early, what faults have done, which rounds were skipped, what privacy is left."""
    found, faults = [], summary.get("faults")
    if early := summary.get("ended_early"):
        found.append(f"Ended after round {early['round']} of {early['of']}: validation accuracy had stopped to rise")
    if faults:
        counts = {words: faults[name] for name, words in _FAULTS.items() if faults[name]}
        told = ", ".join(f"{count} {words}" for words, count in counts.items()) or "none"
        found.append(f"Simulated faults in {faults['client_rounds']} trainings: {told}; heard {faults['heard']:.1%}")
    if skipped := summary.get("skipped_rounds"):
        found.append(f"{skipped} rounds were skipped, with fewer sound replies than min_replies")
    if privacy := summary.get("privacy"):
        found.append(
            f"Differential privacy of every client's data: epsilon {privacy['epsilon']:.3g} for delta "
            f"{privacy['delta']:g}, for what was shared in all rounds"
        )
    return found


_FAULTS = {
    "away": "away",
    "crashed": "crashed",
    "late": "too late",
    "lost": "lost",
    "corrupted": "corrupted and refused",
    "corrupted_taken": "corrupted and taken",
    "partial": "with partial work",
}
"""How figures of simulated faults are called in a terminal."""


def comparison_table(summaries: dict[str, dict[str, Any]]) -> Table:
    """Return one row for each job of a multirun: the personal models' test accuracy, and other metrics, last round."""
    personal = {job: summary["last"]["test"]["personal"] for job, summary in summaries.items()}
    others = _other_metrics(personal.values())
    heard = ["heard"] if any("faults" in summary for summary in summaries.values()) else []
    columns = ("job", "clients", "mean", "std", "worst 10%", *others, *heard, "sent and received")
    table = PlainTable("Personal models, test split, last round", columns, wraps=True)
    for job, summary in summaries.items():
        figures = personal[job]
        size = sum(sum(kinds.values()) for kinds in summary["bytes"].values())
        shares = [f"{figures[key]:.1%}" for key in ("mean", "std", "worst_10pct")]
        means = [_mean(figures, name) for name in others]
        share = [f"{summary.get('faults', {'heard': 1})['heard']:.1%}" for _ in heard]
        table.add(job, scored(figures), *shares, *means, *share, f"{size / 1e6:.1f} MB")
    return table


def printer(*, stderr: bool = False) -> Console:
    """Return the console for results, or for remarks; tables keep their columns when the output is a file."""
    plain = Console(highlight=False, stderr=stderr)
    return plain if plain.is_terminal else Console(highlight=False, stderr=stderr, width=100)


def print_paths(console: Console, paths: Iterable[Path]) -> None:
    """Print what was written."""
    console.print("Written:")
    for path in paths:
        console.print(f"  {path}", markup=False, soft_wrap=True)


def listing(folder: Path) -> list[Path]:
    """Return what a user would open in a run directory: its summary, tables and figures."""
    return [
        folder / "summary.json",
        folder / "metrics",
        folder / "traffic",
        *sorted((folder / "figures").glob("*")),
    ]
