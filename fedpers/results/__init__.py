"""The run directory: written round by round while a run lasts, read as tidy tables afterwards.

    config.json                    the whole configuration
    manifest.json                  versions, seed, hashes of the data and of the code
    data.json                      what the data are: dataset, partition, hashes
    clients.parquet                who holds what: each client's sizes and label histogram
    metrics/round-00001.parquet    one row for each client, model, split and metric (`fedpers.rows.Row`)
    traffic/round-00001.parquet    one row for each message and payload kind (`fedpers.rows.Entry`)
    diagnostics/round-00001.parquet  one row for each figure that clients or server reported
                                   (`fedpers.rows.Diagnostic`)
    failure.json                   what ended a run of Flower's runtimes early
    summary.json                   the headline, once the run has ended
    figures/                       what was drawn of it

Every file is written under another name and renamed, so a killed run keeps its finished rounds.
"""

from fedpers.results.run import Run, find_runs, load, read_round
from fedpers.results.summary import summarize

__all__ = ["Run", "find_runs", "load", "read_round", "summarize"]
