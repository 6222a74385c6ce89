"""All studies by name, what a study writes, and runs to look at that nobody ran."""

import csv
import dataclasses
import importlib
import json
from pathlib import Path

from experiments.machinery.study import Study
from fedpers.config.keys import Config
from fedpers.results import Run

NAMES = (
    "comparison",
    "convergence",  # after the comparison, whose runs it shares
    "heterogeneity",
    "participation_ratio",
    "dropping_rate",
    "dropping_set",
    "ablation",
    "availability",
    "robustness",
    "privacy",
    "leakage",
    "fine_tuning",
    "pfllib",
)


def study(name: str) -> Study:
    """Import a study."""
    found: Study = importlib.import_module(f"experiments.{name}").STUDY
    return found


def table(folder: Path, name: str) -> list[dict[str, str]]:
    """Read a study's table."""
    with (folder / f"{name}.csv").open() as lines:
        return list(csv.DictReader(lines))


def write_run(folder: Path, val: float, test: float, curve: tuple[float, ...] = (), rounds: int = 4) -> Run:
    """Write what a run leaves behind, as far as studies look at it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(Config(rounds=rounds))))
    last = {split: {"personal": {"mean": value}} for split, value in (("val", val), ("test", test))}
    (folder / "summary.json").write_text(json.dumps({"last": last, "num_failures": 0}))
    return Run(folder)
