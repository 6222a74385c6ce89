"""Prepare data and look at them: `python -m fedpers.data DATASET PARTITION [KEY=VALUE ...] [out=DIR]`.

Prints who holds what and draws it: labels and sizes of the clients, and some images of each. What is prepared here need
not be prepared by a run. `python -m fedpers.run --help` lists datasets, partitions and their keys.

--config-dir DIR has groups of your own, e.g. DIR/dataset/mine.yaml; plugins=[MODULE] the module that it names.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from fedpers.arguments import parser
from fedpers.config.build import resolve
from fedpers.config.compose import compose_config
from fedpers.data.prepare import prepare
from fedpers.data.shards import SPLITS, Shards
from fedpers.endings import command
from fedpers.errors import UserError
from fedpers.progress import PlainTable, printer

SHOWN = 20
"""Clients that the table has a row for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, print, draw, and return the exit code."""
    options = parser("fedpers.data").parse_intermixed_args(arguments)
    given = options.words
    if options.help or not given:
        sys.stdout.write(f"{__doc__}\n")
        return 0 if options.help else 2
    try:
        names = [text for text in given if "=" not in text]
        if len(names) != 2:
            raise UserError(f"found {names}. Accepted: a dataset and a partition, then KEY=VALUE; see --help")
        config = compose_config(
            [f"dataset={names[0]}", f"partition={names[1]}", *(text for text in given if "=" in text)],
            options.config_dir,
        )
        console = Console(stderr=True, highlight=False)
        with console.status(f"preparing {names[0]}, {names[1]}"):
            shards = prepare(config)
        printer().print(table(shards))
        folder = Path(config.out or f"data-{names[0]}-{names[1]}")
        for path in config.data_figures:
            for written in resolve(path, "data_figures", config.plugins)(shards, _title(shards, names), folder):
                sys.stdout.write(f"{written}\n")
        sys.stdout.write(f"{shards.folder}\n")
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _title(shards: Shards, names: Sequence[str]) -> str:
    return f"{shards.manifest['dataset']}, {names[1]}, seed {shards.manifest['seed']}"


def table(shards: Shards) -> Table:
    """Return a row for each client, of the first ones if there are many, and what holds for all."""
    sizes, histogram = shards.split_sizes, shards.label_histogram
    count, num_classes = len(sizes), (histogram > 0).sum(1)
    title = (
        f"{shards.manifest['dataset']}: {sizes.sum():,} samples of {count:,} clients, "
        f"{shards.num_classes} classes, {'x'.join(map(str, shards.shape))}"
    )
    made = PlainTable(title, ("client", *SPLITS, "classes", "most frequent"), caption=_names(shards))
    for client in range(min(count, SHOWN)):
        top = int(histogram[client].argmax())
        share = histogram[client, top] / max(1, histogram[client].sum())
        name = shards.classes[top] if shards.classes else top
        made.add(str(client), *map(str, sizes[client]), str(num_classes[client]), f"{name} ({share:.0%})")
    if count > SHOWN:
        made.add("...")
    made.add_section()
    for name, statistic in (("least", np.min), ("median", np.median), ("most", np.max)):
        made.add(name, *(f"{statistic(sizes[:, i]):g}" for i in range(3)), f"{statistic(num_classes):g}")
    return made


def _names(shards: Shards) -> str:
    """Return what the classes are called, where that is not simply their numbers."""
    names = shards.classes
    if not names or names == [str(number) for number in range(len(names))]:
        return ""
    return f"classes 0, 1, ...: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"


if __name__ == "__main__":
    command(main)
