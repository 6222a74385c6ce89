"""The Flower ServerApp: roll call, strategy, rounds, and the results of each on disk."""

import dataclasses
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from logging import INFO
from typing import Any

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

import fedpers
from fedpers import client_app, records, seeds
from fedpers.build import build, resolve
from fedpers.config import Config
from fedpers.data.shards import CLIENTS, Shards
from fedpers.device import describe
from fedpers.errors import FederationError, UserError
from fedpers.evaluation import evaluate_clients
from fedpers.federation import Federation, ServerHalf, roll_call
from fedpers.ledger import Ledger
from fedpers.progress import Reporter, Silent
from fedpers.results import Run, summarize
from fedpers.scoring import check_metrics, where_smaller_is_better
from fedpers.tables import Diagnostic, Row, mean_accuracy
from fedpers.writer import FAILURE, RunWriter, run_directory

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


def check(config: Config, shards: Shards) -> None:
    """Raise a UserError when the algorithm does not fit the model, or an engine, metric or figure cannot be had.

    Nothing has been written yet.
    """
    algorithm = client_app.build_client(config)
    models = [client_app.build_model(config, shards, i) for i in range(len(client_app.model_specs(config)))]
    for model in models:
        algorithm.check(model, config)
        if model.stage_names != models[0].stage_names:
            raise UserError(
                f"model.mixture has stages {', '.join(models[0].stage_names)} and {', '.join(model.stage_names)}. "
                "Accepted: models whose stages have the same names"
            )
        if len(models) > 1 and not all(algorithm.is_personal(key) for key in model.state_dict()):
            raise UserError(
                f"strategy={config.choices.get('strategy')} shares weights, which clients of several architectures "
                "(model.mixture) cannot. Accepted: a strategy that keeps all weights on the clients, or one model"
            )
    build(config.engine, "engine", plugins=config.plugins)
    check_metrics(config.metrics, config.plugins, shards.num_classes)
    for number, path in enumerate(config.figures):
        resolve(path, f"figures[{number}]", config.plugins)


def serve(grid: Grid, config: Config, shards: Shards, writer: RunWriter, reporter: Reporter) -> None:
    """Run all rounds of a federation over a Grid and write its results.

    Args:
        grid: Reaches the clients.
        config: The run's configuration.
        shards: The prepared data; the server uses its manifest only.
        writer: The run directory.
        reporter: Is told of every round.

    Raises:
        FederationError: the federation cannot go on.
    """
    start = time.perf_counter()
    writer.write_json("config.json", dataclasses.asdict(config))
    writer.write_json("manifest.json", _manifest(config, shards))
    writer.write_json("data.json", shards.manifest)
    writer.copy(shards.folder / CLIENTS)
    nodes = roll_call(grid, shards.num_clients)
    federation = _federation(config, shards, nodes)
    strategy: Strategy = client_app.build_client(config).server(federation)  # type: ignore[attr-defined]
    ledger = Ledger(grid, nodes)

    unseen = config.unseen_clients(shards.num_clients)

    def trainable(rows: list[Row]) -> list[Row]:
        return [row for row in rows if row.client not in unseen]

    def after_round(round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if round == 0:  # Flower also asks before the first round
            return None
        books = ledger.take()
        entries, diagnostics, rows = books.entries, books.diagnostics, list[Row]()
        if config.evaluates(round):
            rows = evaluate_clients(ledger, round, arrays, nodes, books.trained)
            entries = entries + ledger.take().entries
        if isinstance(strategy, ServerHalf):
            reported = sorted(strategy.diagnostics.items())
            diagnostics = diagnostics + [Diagnostic(round, seeds.SERVER, name, value) for name, value in reported]
            accuracy = mean_accuracy(trainable(rows), "val")
            if accuracy is not None:
                strategy.evaluated(round, accuracy)
        writer.write_round(round, rows, entries, diagnostics)
        reporter.round_done(round, trainable(rows), entries)
        return None

    strategy.start(
        ledger,
        initial_arrays=records.to_record(federation.initial),
        num_rounds=config.rounds,
        evaluate_fn=after_round,
    )
    summary = summarize(Run(writer.folder))
    writer.write_json("summary.json", {**summary, "seconds": time.perf_counter() - start})


def _federation(config: Config, shards: Shards, nodes: dict[int, int]) -> Federation:
    worker = client_app.Worker(dataclasses.replace(config, device="cpu"), shards)
    model = client_app.build_model(config, shards)
    shared = {key: tensor for key, tensor in model.state_dict().items() if not worker.is_personal(key)}
    return Federation(
        config=config,
        nodes=nodes,
        num_classes=shards.num_classes,
        shape=shards.shape,
        model=lambda: client_app.build_model(config, shards),
        initial=shared,
    )


def _manifest(config: Config, shards: Shards) -> dict[str, Any]:
    return {
        "fedpers": fedpers.__version__,
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
    }
