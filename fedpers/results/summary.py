"""A run's summary: means over clients and fairness by split and model, traffic, failures."""

from typing import Any

import numpy as np
import pandas as pd

from fedpers.errors import UserError
from fedpers.faults.base import CORRUPTED, SIMULATED, SKIPPED, TROUBLES, WORK
from fedpers.privacy.accounting import EPSILON
from fedpers.results import metrics
from fedpers.results.run import Run
from fedpers.rows import MODELS, SPLITS, metric_rank


def summarize(run: Run) -> dict[str, Any]:
    """Build a run's summary: the last round and the one chosen on validation, by split and model.

    The best round on test is there too, under a name that says what it is: it must not be the headline. Clients that
    never train, and those that poison, are counted apart, under `unseen` and `attackers`, after the last round.
    `diverged` has the first round in which a model had no finite loss, and the number of clients with such models.
    Every mean is over `num_clients` of `of_clients`: those that failed to be scored are missing.
    Figures are those of the accuracy, which chooses the rounds, too; those of every other metric, over the clients
    where it is finite, stand under `metrics`.
    """
    table, expected = run.metrics[~run.metrics.client.isin(run.unseen | run.attackers)], _num_counted(run)
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
                    summary[name].setdefault(split, {})[model] = _figures(run, rows, expected)
    for name, apart in (("unseen", run.unseen), ("attackers", run.attackers)):
        if apart:
            summary[name] = _last(run, run.metrics[run.metrics.client.isin(apart)], len(apart))
    lost = run.metrics[(run.metrics.metric == "loss") & ~np.isfinite(run.metrics.value)]
    summary["diverged"] = None if lost.empty else {"round": int(lost["round"].min()), "clients": lost.client.nunique()}
    return summary | _totals(run)


def _num_counted(run: Run) -> int | None:
    """Return how many clients may train and do not poison; None in runs of earlier versions, which do not say it."""
    try:
        return len(run.clients) - len(run.unseen | run.attackers)
    except UserError:
        return None


def _last(run: Run, table: pd.DataFrame, expected: int) -> dict[str, Any]:
    """Return the figures after the last round, by split and model."""
    found: dict[str, Any] = {}
    table = table[table["round"] == table["round"].max()]
    for split in SPLITS:
        for model in MODELS:
            rows = table[(table.model == model) & (table.split == split)]
            if not rows.empty:
                found.setdefault(split, {})[model] = _figures(run, rows, expected)
    return found


def _figures(run: Run, rows: pd.DataFrame, expected: int | None) -> dict[str, Any]:
    """Return the figures of one model on one split after one round; so many clients should have been scored."""
    accuracy, finite = rows[rows.metric == "accuracy"], rows[np.isfinite(rows.value)]
    others = {}
    for name in sorted(set(finite.metric) - {"accuracy"}, key=metric_rank):
        of_it, small = finite[finite.metric == name], name.partition("/")[0] in run.smaller_is_better
        others[name] = metrics.describe(of_it.value, of_it.num_examples, smaller_is_better=small)
    number = int(rows["round"].iloc[0])
    figures = metrics.summarize(accuracy.value, accuracy.num_examples)
    of_all = {} if expected is None else {"of_clients": expected}
    return {"round": number, **figures, **of_all, "metrics": others}


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
    errors = run.traffic[run.traffic.kind == "error"]
    is_simulated = errors.error.str.startswith(SIMULATED).astype(bool)
    found: dict[str, Any] = {
        "bytes": communication,
        "client_seconds": float(traffic.seconds.sum()),
        "num_failures": int((~is_simulated).sum()),
    }
    if skipped := int((run.diagnostics.name == SKIPPED).sum()):
        found["skipped_rounds"] = skipped
    epsilons = run.diagnostics[run.diagnostics.name == EPSILON].value
    if len(epsilons):
        found["privacy"] = {"epsilon": float(epsilons.iloc[-1]), "delta": float(run.config.privacy["delta"])}
    if run.config.faults:
        found["faults"] = _faults(run, errors[is_simulated])
    return found


def _faults(run: Run, errors: pd.DataFrame) -> dict[str, Any]:
    """Return what simulated faults have done: how often each has struck, and the mean share of clients that was heard.

    `client_rounds` are the pairs of a round and a client sampled in it. Corrupted replies were noticed and not taken,
    or taken.
    """
    trained = run.traffic[run.traffic.phase == "train"]
    asked = trained[["round", "client"]].drop_duplicates()
    heard = trained[(trained.direction == "up") & (trained.kind != "error")][["round", "client"]].drop_duplicates()
    counts: dict[str, Any] = {
        name: int(errors.error.str.startswith(SIMULATED + text).sum()) for name, text in TROUBLES.items()
    }
    corrupted = run.diagnostics[run.diagnostics.name == CORRUPTED]
    slow = run.diagnostics[run.diagnostics.name == WORK]
    return {
        "client_rounds": len(asked),
        "heard": len(heard) / max(1, len(asked)),
        **counts,
        "corrupted_taken": len(corrupted),
        "partial": len(slow),
    }
