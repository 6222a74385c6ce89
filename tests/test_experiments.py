"""The experiments on federated datasets, from the files that a user has to the summary."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ondisk import CINIC10_CLASSES, write_cinic10_hub, write_femnist_hub, write_image_folder, write_leaf

from fedpers.results import Run
from fedpers.run import main

WRITERS = {f"f{number:04}_00": 60 for number in range(4)}
FORMS: dict[str, tuple[str, Callable[[Path], object], list[str]]] = {
    "femnist, LEAF": ("femnist", lambda root: write_leaf(root / "all_data", WRITERS), ["partition.num_clients=3"]),
    "femnist, hub": ("femnist", lambda root: write_femnist_hub(root, WRITERS), ["partition.num_clients=3"]),
    "cinic10, folder": (
        "cinic10",
        lambda root: write_image_folder(root / "CINIC-10", ("train", "valid", "test"), CINIC10_CLASSES, each=4),
        ["partition.num_clients=3", "partition.alpha=1.0"],
    ),
    "cinic10, hub": (
        "cinic10",
        lambda root: write_cinic10_hub(root, 40),
        ["partition.num_clients=3", "partition.alpha=1.0"],
    ),
    "glyphs": ("glyphs", lambda root: None, ["dataset.num_writers=3"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_experiment_from_files_to_summary(form: str, tmp_path: Path) -> None:
    name, write, overrides = FORMS[form]
    write(tmp_path / "data")
    root = [] if name == "glyphs" else [f"dataset.root={tmp_path / 'data'}"]
    small = ["rounds=2", "eval_every=1", "model.hidden=[16]", "model.channels=[4,4]", "quiet=true"]
    run, cache = tmp_path / "run", tmp_path / "cache"
    assert main([f"experiment=fedd2s_{name}", *root, *overrides, *small, f"out={run}", f"cache={cache}"]) == 0
    summary = Run(run).summary
    scored = summary["last"]["test"]["personal"]
    assert scored["num_clients"] == 3
    assert 0 <= scored["mean"] <= 1
    assert (run / "figures" / "layer_dropping.png").is_file()
