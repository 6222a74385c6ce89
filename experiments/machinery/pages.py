"""A study's files: NAME.md for readers, NAME.csv for programs, what tuning tried, and the figure."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from experiments.machinery.jobs import listing
from experiments.machinery.outcome import MEASURES, Outcome, Setting
from experiments.machinery.plan import REFERENCE, Pair
from experiments.machinery.study import Options, Scale, Study
from experiments.machinery.tuning import Choice
from fedpers.errors import UserError

HEADERS = {
    "accuracy": "accuracy",
    "gain": f"gain over {REFERENCE}",
    "harmed": f"worse than {REFERENCE}",
    "worst_10pct": "worst 10 %",
    "quarter": "after a quarter",
    "std": "std",
    "megabytes": "MB",
}
NOTE = """\
Test accuracy in % after the last round, mean over clients, then mean over seeds ± half of its 95 % confidence
interval (Student's t over seeds). Gain: difference to {reference} with the same seed, hence the same data; worse:
share of clients below themselves under {reference}; worst 10 %: mean over the worst tenth of the clients; after a
quarter: accuracy after a quarter of the rounds; std: over clients; MB: sent in both directions by all clients in all
rounds."""

REUSED = "Kept although the code differs from what made them (`reuse=true`)"


def write(
    study: Study,
    scale: Scale,
    options: Options,
    found: Sequence[Outcome],
    choices: dict[Pair, Choice],
    failures: dict[str, str],
    kept: Mapping[str, str],
) -> list[Path]:
    """Write everything and return the files.

    Raises:
        UserError: the folder cannot be written.
    """
    finished = [outcome for outcome in found if outcome.runs]
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
    found: Sequence[Outcome],
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
        f"Every run has `{' '.join((*scale.common, *options.overrides))}`, what its row says, and seeds {seeds}.",
        markdown_table(["", "method", *(HEADERS[measure] for measure in MEASURES)], rows(found)),
        NOTE.format(reference=REFERENCE),
    ]
    parts += study.sections([outcome for outcome in found if outcome.runs]) if study.sections else []
    parts += tuning_section(scale, choices) if choices else []
    absent = {run.folder.name: n for o in found for run in o.runs.values() if (n := run.summary["num_failures"])}
    if absent:
        parts.append("Clients failed in: " + ", ".join(f"{name} ({n} messages)" for name, n in absent.items()))
    diverged = [run.folder.name for o in found for run in o.runs.values() if run.summary.get("diverged")]
    if diverged:
        parts.append("Training diverged, so that accuracies mean nothing, in: " + ", ".join(diverged))
    if kept:
        parts.append(f"{REUSED}: {listing(kept)}")
    if failures:
        parts += ["## Failed runs", "\n".join(f"- {name}: {error}" for name, error in failures.items())]
    short = {o.arm.name: len(scale.seeds) - len(o.runs) for o in found if len(o.runs) < len(scale.seeds)}
    if short:
        parts.append("Rows with missing seeds: " + ", ".join(f"{name} ({n} missing)" for name, n in short.items()))
    parts.append(f"![{study.question}]({study.name}.png)")
    return "\n\n".join(parts) + "\n"


def rows(found: Sequence[Outcome]) -> list[list[str]]:
    """Return the cells of the main table."""
    return [[o.condition.name, o.arm.name, *(cell(o, measure) for measure in MEASURES)] for o in found]


def cell(outcome: Outcome, measure: str) -> str:
    """Return an estimate as text: 87.8 ± 1.2, without the interval for a single seed, – for nothing."""
    value = outcome.estimate(measure)
    if value is None:
        return "–"
    sign = "+" if measure == "gain" else ""
    mean = f"{value.mean:{sign}.1f}"
    intervals = ("accuracy", "gain", "worst_10pct")
    return f"{mean} ± {value.half:.1f}" if value.half is not None and measure in intervals else mean


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


def csv_table(found: Sequence[Outcome]) -> str:
    """Return the table with all digits: each measure's mean and bounds, and each seed's accuracy."""
    seeds = sorted({seed for outcome in found for seed in outcome.runs})
    bounds = [f"{measure}_{part}" for measure in MEASURES for part in ("mean", "low", "high")]
    header = [
        "condition",
        "method",
        "overrides",
        "setting",
        "num_seeds",
        *bounds,
        *(f"accuracy_seed_{s}" for s in seeds),
    ]
    lines: list[list[object]] = []
    for o in found:
        numbers: list[object] = []
        for measure in MEASURES:
            value = o.estimate(measure)
            if value is None:
                numbers += ["", "", ""]
            else:
                numbers += [value.mean, *((value.low, value.high) if value.half is not None else ("", ""))]
        overrides = " ".join((*o.condition.overrides, *o.arm.overrides))
        each = o.by_seed("accuracy")
        head = [o.condition.name, o.arm.name, overrides, setting_text(o.setting), len(o.runs)]
        lines.append([*head, *numbers, *(each.get(seed, "") for seed in seeds)])
    return _csv(header, lines)


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


def terminal_table(study: Study, found: Sequence[Outcome]) -> Table:
    """Return the main columns for a terminal."""
    shown = ("accuracy", "gain", "worst_10pct", "megabytes")
    table = Table(title=study.question, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, header in enumerate(["", "method", *(HEADERS[measure] for measure in shown)]):
        table.add_column(header, justify="left" if number < 2 else "right", no_wrap=True)
    for o in found:
        table.add_row(o.condition.name, o.arm.name, *(cell(o, measure) for measure in shown))
    return table


def _write(path: Path, text: str) -> Path:
    scratch = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(text)
        scratch.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path} cannot be written ({reason}). Name another folder with out=DIR") from error
    return path
