"""What a dataset is, remembered: so that data that are prepared already need not be loaded to be recognized.

A dataset's fingerprint is its configuration, the code that loads it, and the names, sizes and times of its files. As
long as it stays the same, the hash of the content that was loaded last stands. A plugin that names no `root` may read
whatever it likes: it has no fingerprint, and is loaded every time.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fedpers.closure import code_sha256, is_ours
from fedpers.config.build import resolve
from fedpers.config.identity import targets, without_paths
from fedpers.config.keys import Config, Spec
from fedpers.data.images import Images
from fedpers.given import is_given

Described = dict[str, Any]
"""A dataset in the manifest of prepared data: its name, hash and normalization."""

_LIBRARIES = ("scikit-learn", "matplotlib", "numpy", "pillow", "pyarrow", "scipy", "torchvision")


def describe(images: Images) -> Described:
    """Return what a manifest says of a dataset."""
    mean, std = images.normalization
    return {"dataset": images.name, "dataset_sha256": images.sha256(), "mean": list(mean), "std": list(std)}


def fingerprint(spec: Spec, plugins: Iterable[str] = ()) -> str | None:
    """Return a hash that changes whenever loading a dataset may give something else; None if nobody can tell.

    Args:
        spec: The dataset's configuration. `root`, if it has one, is the folder or file that it is read from.
        plugins: Additional modules that `_target_` may name.
    """
    if "_target_" not in spec or is_given(spec["_target_"]):
        return None
    if not is_ours(loader := str(spec["_target_"])):
        resolve(loader, "dataset._target_", plugins)
        if spec.get("root") is None:
            return None
    code = code_sha256([loader])
    if code is None:
        return None
    try:
        files = _listing(Path(str(spec["root"])).expanduser()) if spec.get("root") is not None else []
    except OSError:
        return None
    known = {
        "spec": without_paths(spec),
        "code": code,
        "libraries": [version(name) for name in _LIBRARIES],
        "files": files,
    }
    return hash_of(known)


def code_of_data(config: Config) -> str | None:
    """Return a hash of the code that prepares a configuration's data; None if they may be others every time."""
    dataset = config.dataset
    if is_given(dataset.get("_target_")):
        return None
    if dataset.get("root") is None and not is_ours(str(dataset.get("_target_"))):
        return None
    return code_sha256(targets([dataset, config.partition, config.shift]))


def _listing(root: Path) -> list[tuple[str, int, int]]:
    """Return the absolute path, bytes and time of change of every file in a folder, or of one file.

    Raises:
        OSError: there is none.
    """
    paths = [root] if root.is_file() else [Path(f) / name for f, _, names in os.walk(root) for name in sorted(names)]
    if not paths:
        raise FileNotFoundError(root)
    stats = [(str(path.resolve()), path.stat()) for path in paths]
    return sorted((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def known(cache: Path, key: str | None) -> Described | None:
    """Return what was found when a dataset of this fingerprint was last loaded; None if that is damaged, too."""
    if key is None:
        return None
    try:
        found = json.loads((cache / "sources" / f"{key}.json").read_text())
        described: Described = found["described"]
        return described if found["sha256"] == hash_of(described) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def hash_of(content: Any) -> str:
    """Return a hash of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def remember(cache: Path, key: str | None, described: Described) -> None:
    """Write down what a dataset is; without a place to write, it will be loaded again next time."""
    if key is None:
        return
    try:
        (cache / "sources").mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=cache / "sources", suffix=".tmp", delete=False) as file:
            json.dump({"described": described, "sha256": hash_of(described)}, file)
        Path(file.name).replace(cache / "sources" / f"{key}.json")
    except OSError:
        return
