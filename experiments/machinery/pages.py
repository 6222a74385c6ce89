"""A study's files: NAME.md for readers, NAME.csv for programs, what tuning tried, and the figure."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.table import Table

from experiments.machinery.jobs import listing
from experiments.machinery.kept import KeptRow
from experiments.machinery.outcome import BY_SEED, MEASURES, Estimate, Outcome, Row, Setting, paired
from experiments.machinery.plan import REFERENCE, Pair
from experiments.machinery.study import Options, Scale, Study, told
from experiments.machinery.tuning import Choice
from fedpers.errors import writing
from fedpers.progress import PlainTable
from fedpers.scratch import replaced

HEADERS = {
    "accuracy": "accuracy",
    "gain": f"gain over {REFERENCE}",
    "behind": "to the best",
    "harmed": f"worse than {REFERENCE}",
    "worst_10pct": "worst 10 %",
    "behind_in_worst": "worst to the best",
    "quarter": "after a quarter",
    "std": "std",
    "megabytes": "MB",
}
NOTE = """\
Test accuracy in % after the last round, mean over clients, then mean over seeds ± half of its 95 % confidence
interval (Student's t over seeds). Gain: difference to {reference} with the same seed, hence the same data; worse:
share of clients below themselves under {reference}; to the best: difference to the method with the highest accuracy
under the same condition, over the seeds that both have; worst 10 %: mean over the worst tenth of the clients; worst to
the best: the same difference in that; after a quarter: accuracy after a quarter of the rounds; std: over clients; MB:
sent in both directions by all clients in all rounds."""

BEHIND = {"behind": "accuracy", "behind_in_worst": "worst_10pct"}
"""Columns that are differences to the best row, and in what."""

COLUMNS = ("accuracy", "gain", "behind", "harmed", "worst_10pct", "behind_in_worst", "quarter", "std", "megabytes")
"""What the main table has a column for."""

INTERVALS = ("accuracy", "gain", "worst_10pct", *BEHIND)
"""What is shown with its interval."""

REUSED = "Kept although the code differs from what made them (`reuse=true`)"


def write(
    study: Study,
    scale: Scale,
    options: Options,
    found: Sequence[Row],
    choices: dict[Pair, Choice],
    failures: dict[str, str],
    kept: Mapping[str, str],
) -> list[Path]:
    """Write everything and return the files.

    Raises:
        UserError: the folder cannot be written.
    """
    finished = [row for row in found if row.seeds]
    text = markdown(study, scale, options, found, choices, failures, kept)
    tables = {f"{study.name}.csv": csv_table(found)}
    if choices:
        tables[f"{study.name}_tuning.csv"] = csv_tuning(choices)
    written = [_write(options.folder / f"{study.name}.md", text)]
    written += [_write(options.folder / name, content) for name, content in tables.items()]
    return written + (study.draw(finished, options.folder) if finished else [])


def markdown(
    study: Study,
    scale: Scale,
    options: Options,
    found: Sequence[Row],
    choices: dict[Pair, Choice],
    failures: dict[str, str],
    kept: Mapping[str, str],
) -> str:
    """Return a study's page."""
    seeds = ", ".join(map(str, scale.seeds))
    parts = [
        f"# {study.name.replace('_', ' ').capitalize()}, scale {options.scale}",
        study.question,
        f"    {options.command}",
        f"Every run has `{' '.join((*scale.common, *options.overrides))}`, what its row says, and seeds {seeds}"
        f"{_more(scale)}.{_partly(options, found)}",
        markdown_table(["", "method", *(HEADERS[measure] for measure in COLUMNS)], rows(found)),
        NOTE.format(reference=REFERENCE),
    ]
    parts += study.sections([row for row in found if isinstance(row, Outcome) and row.runs]) if study.sections else []
    parts += tuning_section(scale, choices) if choices else []
    remarks = [f"- {_where(row)}, {remark}" for row in found for remark in row.remarks]
    if remarks:
        parts += ["## Remarks", "\n".join(remarks)]
    if kept:
        parts.append(f"{REUSED}: {listing(kept)}")
    if failures:
        parts += ["## Failed runs", "\n".join(f"- {name}: {error}" for name, error in failures.items())]
    short = [f"{_where(row)} ({n} missing)" for row in found if (n := len({*scale.seeds} - {*row.seeds}))]
    if short:
        parts.append(f"Rows with missing seeds: {'; '.join(short)}")
    parts.append(f"![{study.question}]({study.name}.png)")
    return "\n\n".join(parts) + "\n"


def _where(row: Row) -> str:
    return ", ".join(name for name in (row.arm.name, row.condition.name) if name)


def _partly(options: Options, found: Sequence[Row]) -> str:
    """Say which rows were run by this command."""
    if not options.only:
        return ""
    if not any(isinstance(row, KeptRow) for row in found):
        return f" Run so far: {', '.join(dict.fromkeys(row.arm.name for row in found))}."
    return (
        f" This command ran {', '.join(options.only)}. The other rows are from before, with their seeds; {REFERENCE}, "
        "and of each other one run under the first condition, came out again to the last digit."
    )


def _more(scale: Scale) -> str:
    """Say who has further seeds."""
    if not scale.more_seeds:
        return ""
    best = f"under each condition the {scale.num_best} with the highest validation accuracy in tuning"
    closely = ", ".join(arm.name for arm in scale.arms if arm.closely)
    whose = " and ".join(text for text in (closely, best if scale.tuning_seeds else "") if text)
    return f"; further ones, {', '.join(map(str, scale.more_seeds))}, for {whose}"


def rows(found: Sequence[Row]) -> list[list[str]]:
    """Return the cells of the main table."""
    best = {
        (row.condition, measure): row for measure in BEHIND.values() for row in sorted(found, key=_by_mean(measure))
    }
    return [
        [
            row.condition.name,
            row.arm.name,
            *(cell(row, measure, best[row.condition, BEHIND.get(measure, "accuracy")]) for measure in COLUMNS),
        ]
        for row in found
    ]


def _by_mean(measure: str) -> Callable[[Row], float]:
    """Return what sorts rows by a measure's mean, those without any first."""

    def mean(row: Row) -> float:
        value = row.estimate(measure)
        return value.mean if value else -1.0

    return mean


def cell(row: Row, measure: str, best: Row | None = None) -> str:
    """Return an estimate as text: 87.8 ± 1.2, without the interval for a single seed, – for nothing."""
    if measure in BEHIND:
        value = None if best is None or best is row else paired(row, best, BEHIND[measure])
    else:
        value = row.estimate(measure)
    if value is None:
        return "–"
    mean = f"{value.mean:{'+' if measure in ('gain', *BEHIND) else ''}z.1f}"
    return f"{mean} ± {value.half:.1f}" if value.half is not None and measure in INTERVALS else mean


def markdown_table(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; a first column without any content is left out."""
    skip = 0 if any(row[0] for row in cells) else 1
    lines = [headers[skip:], ["---"] * (len(headers) - skip), *(row[skip:] for row in cells)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tuning_section(scale: Scale, choices: dict[Pair, Choice]) -> list[str]:
    """Return what was tried and chosen."""
    seeds = ", ".join(map(str, scale.tuning_seeds))
    text = (
        "Every method tried each value of its grid, all other keys at the value in their middle, under each condition "
        "on its own. The setting with the highest mean validation accuracy in the last round was chosen. Seeds of "
        f"these runs: {seeds}; none of them is reported. Test data played no part."
    )
    if scale.tuning:
        text += f" These runs had `{' '.join(scale.tuning)}`."
    cells = [
        [
            condition.name,
            arm.name,
            "; ".join(f"{key}: {', '.join(f'{value:g}' for value in values)}" for key, values in arm.grid),
            str(len(choice.tried)),
            setting_text(choice.setting),
            f"{choice.scores[choice.setting]:.1f}" if choice.setting in choice.scores else "–",
        ]
        for (condition, arm), choice in choices.items()
    ]
    headers = ["", "method", "grid", "settings tried", "chosen", "validation accuracy"]
    return ["## Tuning", text, markdown_table(headers, cells)]


def setting_text(setting: Setting) -> str:
    """Return a setting as overrides."""
    return " ".join(f"{key}={value:g}" for key, value in setting)


def csv_table(found: Sequence[Row]) -> str:
    """Return the table with all digits: each measure's mean and bounds, and what is known of each seed."""
    seeds = sorted({seed for row in found for seed in row.seeds})
    of_seed = [(measure, seed) for measure in BY_SEED for seed in seeds]
    header = [
        *("condition", "method", "overrides", "setting", "num_seeds"),
        *(f"{measure}_{part}" for measure in MEASURES for part in ("mean", "low", "high")),
        *(f"{measure}_seed_{seed}" for measure, seed in of_seed),
        "remarks",
    ]
    lines: list[list[object]] = []
    for row in found:
        head = [
            row.condition.name,
            row.arm.name,
            told(row.condition, row.arm),
            setting_text(row.setting),
            len(row.seeds),
        ]
        bounds = [number for measure in MEASURES for number in _numbers(row.estimate(measure))]
        each = [row.by_seed(measure).get(seed, "") for measure, seed in of_seed]
        lines.append([*head, *bounds, *each, "; ".join(row.remarks)])
    return _csv(header, lines)


def _numbers(value: Estimate | None) -> tuple[object, object, object]:
    if value is None:
        return "", "", ""
    return (value.mean, value.low, value.high) if value.half is not None else (value.mean, "", "")


def csv_tuning(choices: dict[Pair, Choice]) -> str:
    """Return every setting that was tried, with its validation accuracy."""
    lines = [
        [condition.name, arm.name, setting_text(setting), choice.scores.get(setting, ""), setting == choice.setting]
        for (condition, arm), choice in choices.items()
        for setting in choice.tried
    ]
    return _csv(["condition", "method", "setting", "validation_accuracy", "chosen"], lines)


def _csv(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([header, *lines])
    return buffer.getvalue()


def terminal_table(study: Study, found: Sequence[Row]) -> Table:
    """Return the main columns for a terminal."""
    shown = ("accuracy", "gain", "worst_10pct", "megabytes")
    headers = ["", "method", *(HEADERS[measure] for measure in shown)]
    table = PlainTable(study.question, headers, left=2)
    for row in found:
        table.add(row.condition.name, row.arm.name, *(cell(row, measure) for measure in shown))
    return table


def _write(path: Path, text: str) -> Path:
    with writing(path, "Name another folder with out=DIR"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as scratch:
            scratch.write_text(text)
    return path
