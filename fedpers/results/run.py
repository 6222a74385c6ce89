"""Finished runs, read as tidy tables."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from fedpers.config.identity import identity
from fedpers.config.keys import Config
from fedpers.errors import UserError, unknown_name
from fedpers.results.reading import read_object
from fedpers.results.sweeps import read_listing
from fedpers.results.tables import arrow_schema, read_parquet, read_rows, to_wide
from fedpers.rows import ALWAYS, Diagnostic, Entry, Row, metric_rank

if TYPE_CHECKING:
    from fedpers.results.models import Deployed

_NEEDS = {
    "config.json": ("rounds", "seed", "dataset", "strategy"),
    "data.json": ("dataset", "dataset_sha256", "assignment_sha256"),
    "manifest.json": ("seed",),
    "summary.json": ("last",),
}
"""Keys without which a file of a run is damaged; all versions have them."""


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
        """What of the configuration determines the results: `fedpers.config.identity.identity`."""
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

    @cached_property
    def swept(self) -> dict[str, str]:
        """The keys that the sweep of this run has varied, but for seed and strategy, and their values here."""
        members = read_listing(self.folder.parent) or {}
        mine = (each for each in members.values() if Path(str(each.config.out)).name == self.folder.name)
        swept: Mapping[str, str] = next((each.swept for each in mine), {})
        return {key: value for key, value in swept.items() if key not in ("seed", "strategy", "experiment")}

    @property
    def label(self) -> str:
        """What figures call this run."""
        return self.config.choices.get("strategy", self.folder.name)

    @cached_property
    def unseen(self) -> frozenset[int]:
        """The clients that never train."""
        return self.config.unseen_clients(int(self.data["num_clients"])) if self.config.unseen else frozenset()

    @cached_property
    def attackers(self) -> frozenset[int]:
        """The clients that poison; what they reach is told apart from what the others do."""
        return self.config.attackers(int(self.data["num_clients"])) if self.config.attack else frozenset()

    def model(self, client: int | str, plugins: Iterable[str] = ()) -> "Deployed":
        """Load the model that is deployed on a client, or the "global" one, with how images are made ready for it.

        Args:
            client: The client's number, or "global".
            plugins: Modules of your own that the model is made of; a run's directory cannot name them.

        Raises:
            UserError: the run has not kept it (`save`), or it is damaged.
        """
        from fedpers.results.models import load_model  # imports PyTorch, which tables do not need

        return load_model(self.folder, client, plugins)

    def curve(self, model: str, split: str, metric: str = "accuracy") -> pd.DataFrame:
        """Return a metric of the clients that may train, and do not poison, as a table of rounds by clients.

        Raises:
            UserError: the run has no such metric.
        """
        if metric not in (*ALWAYS, *self.metric_names):
            raise unknown_name(f"metric of {self.folder}", metric, self.metric_names)
        table = self.metrics
        rows = table[(table.metric == metric) & (table.model == model) & (table.split == split)]
        rows = rows[~rows.client.isin(self.unseen | self.attackers)]
        return rows.pivot(index="round", columns="client", values="value")

    def _json(self, name: str) -> dict[str, Any]:
        return read_object(self.folder / name, "the run has not ended, or not as it should", _NEEDS.get(name, ()))

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
        The columns of `fedpers.rows.Row`, preceded by `run` (its directory), `experiment`, `strategy`, `seed`, and by
        the keys that a sweep has varied, under their names and as text (`partition.alpha`).

    Raises:
        UserError: a path holds no run.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    frames = []
    for run in [run for each in paths for run in find_runs(each)]:
        choices = run.config.choices
        frame = run.metrics.copy()
        for key, value in run.swept.items():
            frame.insert(0, key, value)
        frame.insert(0, "seed", run.config.seed)
        frame.insert(0, "strategy", choices.get("strategy", ""))
        frame.insert(0, "experiment", choices.get("experiment", ""))
        frame.insert(0, "run", str(run.folder))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
