"""Golden numbers: what every algorithm gives on a tiny federation, as text: `python tests/goldens.py [NAME ...]`.

Each file of `tests/golden/` holds the losses and accuracies of every client after three rounds of one algorithm under
some options. A change of shape leaves them as they are. Whoever changes a number makes them anew, in the same commit,
and says why. `platform.json` says where they were made: there they hold to the last bit, elsewhere to 1e-5.
"""

import json
import logging
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import scipy
import torch
from federations import chosen, serve

FOLDER = Path(__file__).parent / "golden"
PLATFORM = FOLDER / "platform.json"

COMMON = [
    "dataset=digits",
    "partition=dirichlet",
    "partition.alpha=1.0",
    "partition.num_clients=4",
    "partition.max_samples=160",
    "participation=0.75",
    "rounds=3",
    "batch_size=8",
    "local_epochs=2",
    "lr=0.1",
    "momentum=0",
    "eval_every=1",
    "finetune_epochs=1",
    "figures=[]",
]
MLP = ["model=mlp", "model.hidden=[8,6]"]
NORMED = ["model=resnet18", "model.norm=batch", "model.width=4", "partition.max_samples=100", "rounds=2"]

PINNED = {
    "fedd2s": [
        "strategy.share=knowledge",
        "strategy.vote=0.0",
        "strategy.server_batch_size=64",
        "strategy.server_lr=0.001",
    ]
}
"""What was the default of an algorithm once; with it these numbers have not moved since."""

OPTIONS: dict[str, tuple[str, list[str]]] = {
    "apfl-fixed": ("apfl", ["strategy.adaptive=false"]),
    "fedamp-distance": ("fedamp", ["strategy.attention=distance"]),
    "fedpac-unmixed": ("fedpac", ["strategy.mix_heads=false"]),
    "fedproto-classifier": ("fedproto", ["strategy.inference=classifier"]),
    "fedtgp-classifier": ("fedtgp", ["strategy.inference=classifier"]),
    "fedkd-uncompressed": ("fedkd", ["strategy.energy_start=1", "strategy.energy_end=1"]),
    "per_fedavg-hessian_free": ("per_fedavg", ["strategy.hessian_delta=0.01"]),
    "knn_per-fixed": ("knn_per", ["strategy.lambda_knn=0.3"]),
    "fedavg-momentum": ("fedavg", ["momentum=0.9", "weight_decay=0.01"]),
    "fedavg-unseen": ("fedavg", ["unseen=0.25", "shift=features"]),
    "fedd2s-adaptive": ("fedd2s", ["strategy.dropping=adaptive", "strategy.patience=1", "strategy.min_delta=0.5"]),
    "fedd2s-undropped": ("fedd2s", ["strategy.dropping=none"]),
    "fedd2s-class_means": ("fedd2s", ["strategy.knowledge=class_means"]),
    "fedd2s-own_heads": ("fedd2s", ["strategy.heads=own"]),
    "fedd2s-weights": ("fedd2s", ["strategy.share=weights", "strategy.dropping_set=[2,1]"]),
    "fedd2s-both": ("fedd2s", ["strategy.share=both", "strategy.dropping_set=[2,1]"]),
    "fedd2s-both_batch_norm_local": ("fedd2s", [*NORMED, "batch_norm=local", "strategy.share=both"]),
    "fedd2s-both_and_vote": ("fedd2s", ["strategy.share=both", "strategy.vote=validation"]),
    "fedd2s-vote": ("fedd2s", ["strategy.vote=validation"]),
    "fedd2s-head_only": ("fedd2s", ["strategy.feedback=head"]),
    "fedd2s-soft_labels_only": ("fedd2s", ["strategy.feedback=soft_labels", "strategy.soft_label_max_age=1"]),
    "fedd2s-kl_on_head": ("fedd2s", ["strategy.kl_on=head"]),
    "fedd2s-guarded": (
        "fedd2s",
        [
            "strategy.projection=4",
            "strategy.wire=float16",
            "strategy.knowledge_clip=1.0",
            "strategy.knowledge_noise=0.1",
        ],
    ),
    "fedd2s-linear_heads": ("fedd2s", ["strategy.head_hidden=0", "strategy.head_norm=false", "strategy.mu=0"]),
    "fedd2s-mixed": ("fedd2s", ["model=mixed", "strategy.projection=4", "rounds=2"]),
    **{
        f"{strategy}-batch_norm_{policy}": (strategy, [*NORMED, f"batch_norm={policy}"])
        for strategy in ("fedavg", "fedper", "fedd2s", "fedpac")
        for policy in ("aggregate", "local", "reset")
    },
}
"""Options of algorithms that take another way through the code."""


def cases() -> dict[str, list[str]]:
    """Return the overrides of every golden file: one for each strategy's YAML, then the options."""
    from fedpers.config.compose import group_choices

    all_of_them = {name: (name, list[str]()) for name in sorted(group_choices("strategy"))} | OPTIONS
    return {
        name: [
            *(text for text in COMMON if not _names_key_of(text, options)),
            *([] if any(text.startswith("model=") for text in options) else MLP),
            *chosen(strategy),
            *(pin for pin in PINNED.get(strategy, []) if not _names_key_of(pin, options)),
            *options,
        ]
        for name, (strategy, options) in all_of_them.items()
    }


def _names_key_of(text: str, options: list[str]) -> bool:
    return any(text.partition("=")[0] == option.partition("=")[0] for option in options)


def here() -> dict[str, str]:
    """Return what decides about the last bits of a number on this machine."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "libc": " ".join(platform.libc_ver()),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def _processor() -> str:
    """Return the processor's maker and family, by which libraries choose their kernels."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        return platform.processor()
    found = {key.strip(): value.strip() for key, _, value in lines}
    return " ".join(found.get(key, "") for key in ("vendor_id", "cpu family", "model")).strip()


def compute(name: str, folder: Path, cache: Path) -> str:
    """Run one case in a new folder and return its numbers as text."""
    from fedpers.config.compose import compose_config

    logging.getLogger("flwr").setLevel(logging.ERROR)
    overrides = cases()[name]
    run = serve(compose_config([*overrides, f"cache={cache}", f"out={folder / name}"]))
    table = run.scores.sort_values(["round", "model", "split", "client"])
    columns = ("round", "model", "split", "client", "loss", "accuracy")
    rows = zip(*(table[column].tolist() for column in columns), strict=True)
    lines = [f"# python -m fedpers.run {' '.join(overrides)}", "# " + " ".join(columns)]
    return "\n".join([*lines, *(" ".join(map(str, row)) for row in rows)]) + "\n"


def path(name: str) -> Path:
    """Return the file of a case."""
    return FOLDER / f"{name}.txt"


def main(names: list[str]) -> None:
    """Write the golden files of some cases, or of all."""
    torch.set_num_threads(1)
    known = cases()
    if not names:
        for old in FOLDER.glob("*.txt"):
            old.unlink()
        PLATFORM.write_text(json.dumps(here(), indent=1) + "\n")
    elif here() != json.loads(PLATFORM.read_text()):
        sys.exit(f"{PLATFORM} names another machine. Make all of them anew: python tests/goldens.py")
    with tempfile.TemporaryDirectory() as scratch:
        for name in names or known:
            path(name).write_text(compute(name, Path(scratch), Path(scratch) / "cache"))
            sys.stdout.write(f"{path(name)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
