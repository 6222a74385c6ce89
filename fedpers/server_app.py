"""The Flower ServerApp: roll call, strategy, rounds, and the results of each on disk."""

import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from logging import INFO
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from fedpers import client_app, seeds
from fedpers.algorithm import Algorithm, Federation
from fedpers.assembly import build_algorithm, build_early_stop, build_faults, build_federation, check
from fedpers.checkpoint import Checkpoints, Snapshot
from fedpers.config.keys import Config
from fedpers.data.shards import CLIENTS, Shards
from fedpers.device import describe
from fedpers.errors import FederationError, UserError
from fedpers.faults.base import WAITED
from fedpers.models.initial import weights_sha256
from fedpers.privacy.accounting import EPSILON, Accountant
from fedpers.progress import Reporter, Silent
from fedpers.provenance import provenance
from fedpers.results import Run, read_round, summarize
from fedpers.results.writer import FAILURE, RunWriter, run_directory
from fedpers.rows import Diagnostic, Entry, Row, mean_accuracy
from fedpers.scoring import where_smaller_is_better
from fedpers.version import __version__
from fedpers.wire import records
from fedpers.wire.carrier import BringsStrategy, Carrier, nothing
from fedpers.wire.evaluation import evaluate_clients
from fedpers.wire.export import Export
from fedpers.wire.gate import Gate
from fedpers.wire.keeper import keeper_of
from fedpers.wire.ledger import Ledger
from fedpers.wire.roll_call import roll_call
from fedpers.wire.rounds import run_rounds
from fedpers.wire.unreliable import Unreliable

_PACKAGES = ("flwr", "flwr-datasets", "torch", "torchvision", "numpy", "ray", "pandas", "pyarrow")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Serve a run in Flower's own runtimes; what ends it early is left behind in the run directory."""
    torch.set_num_threads(1)
    config, shards = client_app.open_settings(context.run_config)
    folder = run_directory(config, datetime.now()).resolve()
    check(config, shards)
    writer = RunWriter(folder)
    log(INFO, "fedpers writes to %s", folder)
    try:
        serve(grid, config, shards, writer, Silent())
    except (UserError, FederationError) as error:
        writer.write_json(FAILURE, {"error": type(error).__name__, "message": str(error)})
        raise


def serve(
    grid: Grid,
    config: Config,
    shards: Shards,
    writer: RunWriter,
    reporter: Reporter,
    algorithm: Algorithm | None = None,
    *,
    goes_on_from: Snapshot | None = None,
    gated: bool = True,
) -> None:
    """Run all rounds of a federation; arguments and errors are those of `rounds`."""
    for _ in rounds(grid, config, shards, writer, reporter, algorithm, goes_on_from=goes_on_from, gated=gated):
        pass


@dataclass(frozen=True)
class Ended:
    """A round that has ended.

    Args:
        number: The round, counted from 1.
        rows: Scores of all clients; none where the round was not evaluated.
        entries: The messages of the round.
        diagnostics: What clients and server reported.
        accuracy: The personal models' mean test accuracy over the clients that may train and do not poison, in [0, 1];
            None where the round was not evaluated.
        is_last: Whether the run ends with it.
        carrier: The strategy, if it carries a server half of fedpers.
        grid: Reaches the clients.
    """

    number: int
    rows: list[Row]
    entries: list[Entry]
    diagnostics: list[Diagnostic]
    accuracy: float | None
    is_last: bool
    carrier: Carrier | None
    grid: Grid


def rounds(
    grid: Grid,
    config: Config,
    shards: Shards,
    writer: RunWriter,
    reporter: Reporter,
    algorithm: Algorithm | None = None,
    *,
    goes_on_from: Snapshot | None = None,
    gated: bool = True,
    looked_at: bool = False,
) -> Iterator[Ended]:
    """Run a federation over a Grid round by round, and write its results; whoever stops early leaves a checkpoint.

    Args:
        grid: Reaches the clients.
        config: The run's configuration.
        shards: The prepared data; the server uses its manifest only.
        writer: The run directory.
        reporter: Is told of every round.
        algorithm: The algorithm; without it, the one of the configuration.
        goes_on_from: What the run's last checkpoint holds, if it is to go on.
        gated: What clients send is checked against what the algorithm declares before the server half sees it.
        looked_at: What clients sent in a round is kept until the next one.

    Raises:
        FederationError: the federation cannot go on.
        UserError: a checkpoint cannot be written.
    """
    start = time.perf_counter() - (goes_on_from.seconds if goes_on_from else 0.0)
    writer.begin(config, _manifest(config, shards), shards.manifest, shards.folder / CLIENTS)
    nodes = roll_call(grid, shards.num_clients)
    algorithm = algorithm or build_algorithm(config)
    federation = build_federation(config, shards, algorithm)
    strategy = flower_strategy(algorithm, federation, nodes)
    carrier = strategy if isinstance(strategy, Carrier) else None
    if carrier:
        carrier.is_looked_at = looked_at
    keeper = keeper_of(strategy, grid, Checkpoints(writer.folder, config.checkpoint_every), start)
    begin = records.to_record(carrier.state.shared if carrier else federation.initial)
    if goes_on_from:
        begin = keeper.bring_back(goes_on_from)
    unreliable = Unreliable(grid, nodes, build_faults(config), config.seed) if config.faults else None
    ledger = Ledger(unreliable or grid, nodes, Gate(algorithm, federation) if gated else None, config.min_replies)
    export = Export(writer.folder, config, shards, federation, nodes, grid)
    accountant = _accountant(config, federation)
    early_stop = build_early_stop(config)
    unseen, attackers = config.unseen_clients(shards.num_clients), config.attackers(shards.num_clients)

    def after_round(round: int, arrays: ArrayRecord) -> Ended:
        books = ledger.take()
        entries, diagnostics, rows = books.entries, books.diagnostics, list[Row]()
        own = carrier.own(round, "score") if carrier else nothing
        if config.evaluates(round):
            rows = evaluate_clients(ledger, round, arrays, nodes, own, books.trained)
            entries = entries + ledger.take().entries
        accuracy = mean_accuracy(without(rows, unseen), "val")
        if accuracy is not None:
            accuracies.append(accuracy)
        is_last = round == config.rounds or bool(rows and early_stop and early_stop.is_due(accuracies))
        export.after_round(round, arrays, own, accuracy, is_last=is_last)
        if unreliable:
            diagnostics = [*diagnostics, Diagnostic(round, seeds.SERVER, WAITED, unreliable.time)]
        if accountant:
            diagnostics = [*diagnostics, Diagnostic(round, seeds.SERVER, EPSILON, accountant.epsilon(round))]
        if carrier:
            reported = sorted(carrier.diagnostics.items())
            diagnostics = diagnostics + [Diagnostic(round, seeds.SERVER, name, value) for name, value in reported]
            if accuracy is not None:
                carrier.evaluated(round, accuracy)
        writer.write_round(round, rows, entries, diagnostics)
        keeper.round_done(round, arrays)
        counted = without(rows, unseen | attackers)
        reporter.round_done(round, counted, entries)
        return Ended(round, rows, entries, diagnostics, mean_accuracy(counted, "test"), is_last, carrier, grid)

    first = goes_on_from.round + 1 if goes_on_from else 1
    accuracies = _measured(writer.folder, first - 1, unseen) if early_stop else []
    last = first - 1 if early_stop and early_stop.is_due(accuracies) else config.rounds
    with keeper:
        for number, arrays in run_rounds(strategy, ledger, begin, range(first, last + 1)):
            ended = after_round(number, arrays)
            yield ended
            if ended.is_last:
                last = number
                break
    early = {"ended_early": {"round": last, "of": config.rounds}} if last < config.rounds else {}
    summary = summarize(Run(writer.folder)) | early
    writer.write_json("summary.json", {**summary, "seconds": time.perf_counter() - start})


def _measured(folder: Path, rounds: int, unseen: frozenset[int]) -> list[float]:
    """Return the mean validation accuracies of so many rounds that have been written, of those that were scored."""
    found = (read_round(folder, round) for round in range(1, rounds + 1))
    means = (mean_accuracy(without(each[0], unseen), "val") for each in found if each)
    return [mean for mean in means if mean is not None]


def without(rows: list[Row], clients: frozenset[int]) -> list[Row]:
    """Return the rows of all clients but some."""
    return [row for row in rows if row.client not in clients]


def _accountant(config: Config, federation: Federation) -> Accountant | None:
    """Return what tells how much privacy has been spent, if there is any."""
    if federation.privacy is None:
        return None
    trainable = federation.num_clients - len(config.unseen_clients(federation.num_clients))
    return Accountant(federation.privacy, trainable, config.num_sampled(trainable), federation.sample)


def flower_strategy(algorithm: Algorithm, federation: Federation, nodes: dict[int, int]) -> Strategy:
    """Return the Flower strategy that serves an algorithm: one of its own, if it brings one, or a carrier."""
    if isinstance(algorithm, BringsStrategy):
        return algorithm.flower_strategy(federation, nodes)
    return Carrier(algorithm.server(federation), nodes)


def _manifest(config: Config, shards: Shards) -> dict[str, Any]:
    return {
        "fedpers": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: version(name) for name in _PACKAGES},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "device": describe(config.device),
        "batch_norm": config.batch_norm,
        "smaller_is_better": where_smaller_is_better(config.metrics, config.plugins),
        "dataset_sha256": shards.manifest["dataset_sha256"],
        "assignment_sha256": shards.manifest["assignment_sha256"],
        "init_sha256": weights_sha256(config.init),
        **provenance(config),
    }
