"""The run directory: written round by round while a run lasts, read as tidy tables afterwards.

    config.json                    the whole configuration
    manifest.json                  versions, seed, hashes of the data and of the code
    data.json                      what the data are: dataset, partition, hashes
    clients.parquet                who holds what: each client's sizes and label histogram
    metrics/round-00001.parquet    one row for each client, model, split and metric (`fedpers.tables.Row`)
    traffic/round-00001.parquet    one row for each message and payload kind (`fedpers.tables.Entry`)
    diagnostics/round-00001.parquet  one row for each figure that clients or server reported
                                   (`fedpers.tables.Diagnostic`)
    failure.json                   what ended a run of Flower's runtimes early
    summary.json                   the headline, once the run has ended
    figures/                       what was drawn of it

Every file is written under another name and renamed, so a killed run keeps its finished rounds.
"""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from fedpers import metrics
from fedpers.config import Config, identity
from fedpers.errors import UserError, unknown_name
from fedpers.tables import (
    ALWAYS,
    MODELS,
    SPLITS,
    Diagnostic,
    Entry,
    Row,
    arrow_schema,
    metric_rank,
    read_parquet,
    read_rows,
    to_wide,
)


class Run:
    """Reads one run directory.

    Args:
        folder: What a run wrote.

    Raises:
        UserError: there is no run.
    """

    def __init__(self, folder: str | Path) -> None:
        """Check that the directory holds a run."""
        self.folder = Path(folder)
        if not (self.folder / "config.json").is_file():
            raise UserError(f"{self.folder} is no run directory: it holds no config.json")

    @cached_property
    def config(self) -> Config:
        """The run's configuration."""
        return Config.from_dict(self._json("config.json"))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What of the configuration determines the results: `fedpers.config.identity`."""
        return identity(self.config)

    @cached_property
    def data(self) -> dict[str, Any]:
        """The data's manifest: dataset, partition, hashes."""
        return self._json("data.json")

    @cached_property
    def clients(self) -> pd.DataFrame:
        """One row for each client: `client`, its samples in `train`, `val` and `test`, its `label_histogram`."""
        path = self.folder / "clients.parquet"
        if not path.is_file():
            raise UserError(
                f"{self.folder} holds no clients.parquet: the run ended before its first round. Leave it out"
            )
        frame: pd.DataFrame = read_parquet(path).to_pandas()
        return frame

    @property
    def label_histogram(self) -> NDArray[np.int64]:
        """Samples of each class that each client holds: (clients, classes)."""
        return np.stack(self.clients.label_histogram.to_list())

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The headline; only a run that has ended has one."""
        return self._json("summary.json")

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row for each round, client, model, split and metric, the figure under `value`: the long form."""
        return self._table("metrics", Row)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row for each round, client, model and split, with a column for each metric: the wide form."""
        return to_wide(self.metrics)

    @cached_property
    def metric_names(self) -> list[str]:
        """What was measured: accuracy, loss, then the others by name."""
        return sorted(self.metrics.metric.unique(), key=metric_rank)

    @cached_property
    def smaller_is_better(self) -> frozenset[str]:
        """The metrics whose small values are the good ones."""
        manifest = self._json("manifest.json") if (self.folder / "manifest.json").is_file() else {}
        return frozenset(manifest.get("smaller_is_better", ["loss"]))

    @cached_property
    def traffic(self) -> pd.DataFrame:
        """One row for each message and payload kind."""
        return self._table("traffic", Entry)

    @cached_property
    def diagnostics(self) -> pd.DataFrame:
        """One row for each figure that a client, or the server as client -1, reported of a round."""
        return self._table("diagnostics", Diagnostic)

    @property
    def label(self) -> str:
        """What figures call this run."""
        return self.config.choices.get("strategy", self.folder.name)

    @cached_property
    def unseen(self) -> frozenset[int]:
        """The clients that never train."""
        return self.config.unseen_clients(int(self.data["num_clients"])) if self.config.unseen else frozenset()

    def curve(self, model: str, split: str, metric: str = "accuracy") -> pd.DataFrame:
        """Return a metric of the clients that may train as a table of rounds by clients.

        Raises:
            UserError: the run has no such metric.
        """
        if metric not in (*ALWAYS, *self.metric_names):
            raise unknown_name(f"metric of {self.folder}", metric, self.metric_names)
        table = self.metrics
        rows = table[(table.metric == metric) & (table.model == model) & (table.split == split)]
        rows = rows[~rows.client.isin(self.unseen)]
        return rows.pivot(index="round", columns="client", values="value")

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: the run has not ended, or not as it should") from error
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error})") from error
        return content

    def _table(self, name: str, row: type) -> pd.DataFrame:
        files = sorted((self.folder / name).glob("round-*.parquet"))
        schema = arrow_schema(row)
        tables = [schema.empty_table(), *(read_rows(path, row) for path in files)]
        frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
        return frame


def read_round(folder: Path, round: int) -> tuple[list[Row], list[Entry]] | None:
    """Return the metric and traffic rows of a round that has been written, otherwise None."""
    name = f"round-{round:05d}.parquet"
    metrics, traffic = (folder / table / name for table in ("metrics", "traffic"))
    if not traffic.is_file():  # it is written last
        return None
    rows = [Row(**row) for row in read_rows(metrics, Row).to_pylist()] if metrics.is_file() else []
    return rows, [Entry(**entry) for entry in read_rows(traffic, Entry).to_pylist()]


def find_runs(path: str | Path) -> list[Run]:
    """Return the run in a directory, or all runs below it, by name.

    Raises:
        UserError: there is none.
    """
    folder = Path(path)
    if (folder / "config.json").is_file():
        return [Run(folder)]
    runs = [Run(found.parent) for found in sorted(folder.rglob("config.json"))] if folder.is_dir() else []
    if not runs:
        raise UserError(f"{folder} holds no run: there is no config.json in it or below it")
    return runs


def load(path: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Read the metric tables of one run, of every run below a directory, or of several of either.

    Returns:
        The columns of `fedpers.tables.Row`, preceded by `run` (its directory), `experiment`, `strategy`, `seed`.

    Raises:
        UserError: a path holds no run.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    frames = []
    for run in [run for each in paths for run in find_runs(each)]:
        choices = run.config.choices
        frame = run.metrics.copy()
        frame.insert(0, "seed", run.config.seed)
        frame.insert(0, "strategy", choices.get("strategy", ""))
        frame.insert(0, "experiment", choices.get("experiment", ""))
        frame.insert(0, "run", str(run.folder))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def summarize(run: Run) -> dict[str, Any]:
    """Build a run's summary: the last round and the one chosen on validation, by split and model.

    The best round on test is there too, under a name that says what it is: it must not be the headline. Clients that
    never train are counted apart, under `unseen`, after the last round. `diverged` has the first round in which a model
    had no finite loss, and the number of clients with such models. Figures are those of the accuracy, which chooses
    the rounds, too; those of every other metric, over the clients where it is finite, stand under `metrics`.
    """
    is_unseen = run.metrics.client.isin(run.unseen)
    table = run.metrics[~is_unseen]
    summary: dict[str, Any] = {"last": {}, "validation_selected": {}, "best_on_test_not_for_reporting": {}}
    for model in MODELS:
        of_model = table[table.model == model]
        if of_model.empty:
            continue
        by_split = {split: of_model[of_model.split == split] for split in SPLITS}
        chosen = {"last": int(of_model["round"].max())}
        if not by_split["val"].empty:
            chosen["validation_selected"] = _best_round(by_split["val"])
        chosen["best_on_test_not_for_reporting"] = _best_round(by_split["test"])
        for name, number in chosen.items():
            for split, rows in by_split.items():
                rows = rows[rows["round"] == number]
                if not rows.empty:
                    summary[name].setdefault(split, {})[model] = _figures(run, rows)
    if run.unseen:
        summary["unseen"] = _last(run, run.metrics[is_unseen])
    lost = run.metrics[(run.metrics.metric == "loss") & ~np.isfinite(run.metrics.value)]
    summary["diverged"] = None if lost.empty else {"round": int(lost["round"].min()), "clients": lost.client.nunique()}
    return summary | _totals(run)


def _last(run: Run, table: pd.DataFrame) -> dict[str, Any]:
    """Return the figures after the last round, by split and model."""
    found: dict[str, Any] = {}
    table = table[table["round"] == table["round"].max()]
    for split in SPLITS:
        for model in MODELS:
            rows = table[(table.model == model) & (table.split == split)]
            if not rows.empty:
                found.setdefault(split, {})[model] = _figures(run, rows)
    return found


def _figures(run: Run, rows: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of one model on one split after one round."""
    accuracy, finite = rows[rows.metric == "accuracy"], rows[np.isfinite(rows.value)]
    others = {}
    for name in sorted(set(finite.metric) - {"accuracy"}, key=metric_rank):
        of_it, small = finite[finite.metric == name], name.partition("/")[0] in run.smaller_is_better
        others[name] = metrics.describe(of_it.value, of_it.num_examples, smaller_is_better=small)
    number = int(rows["round"].iloc[0])
    return {"round": number, **metrics.summarize(accuracy.value, accuracy.num_examples), "metrics": others}


def _best_round(rows: pd.DataFrame) -> int:
    """Return the first of the rounds whose mean accuracy over clients is highest."""
    means = rows[rows.metric == "accuracy"].groupby("round")["value"].mean()
    return int(means.index.to_numpy()[int(means.to_numpy().argmax())])


def _totals(run: Run) -> dict[str, Any]:
    traffic = run.traffic[run.traffic.phase == "train"]
    sums = traffic.groupby(["direction", "kind"], as_index=False).bytes.sum()
    communication: dict[str, dict[str, int]] = {"down": {}, "up": {}}
    for direction, kind, size in zip(sums.direction, sums.kind, sums.bytes, strict=True):
        communication[direction][kind] = int(size)
    return {
        "bytes": communication,
        "client_seconds": float(traffic.seconds.sum()),
        "num_failures": int((run.traffic.kind == "error").sum()),
    }
