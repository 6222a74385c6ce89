"""Preparing data: load a dataset, divide it over clients, and write the result once, under the hash of what it is.

A folder appears at once, complete, under its name: two runs that start together do not disturb each other. It is
checked against its checksums whenever a run opens it, and made anew if it is damaged.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fedpers.closure import code_sha256
from fedpers.config.build import build
from fedpers.config.identity import identity, targets
from fedpers.config.keys import Config
from fedpers.data.division import Assignment, assignment_sha256, divide
from fedpers.data.images import CHUNK, Images, Pixels
from fedpers.data.partitions.base import Indices, Partition
from fedpers.data.shards import CLIENTS, FORMAT, MANIFEST, SPLITS, Shards
from fedpers.data.shift import Shift
from fedpers.data.sources import Described, describe, fingerprint, hash_of, known, remember
from fedpers.errors import UserError, writing
from fedpers.scratch import scratch_folder

log = logging.getLogger(__name__)


def prepare(config: Config) -> Shards:
    """Open the prepared data of a configuration, after making it if this machine has not got it yet.

    Raises:
        UserError: the dataset is missing or damaged, the partition is impossible, or the cache cannot be written.
    """
    cache = _cache_folder(config)
    partition: Partition = build(config.partition, "partition", plugins=config.plugins, returns=Partition)
    shift: Shift = build(config.shift, "shift", plugins=config.plugins, returns=Shift) if config.shift else Shift(None)
    key = fingerprint(config.dataset, config.plugins)
    described = known(cache, key)
    if described is not None:
        content = _content(config, described)
        folder = _folder(cache, content)
        if _is_there(folder, content):
            return Shards(folder)
    images: Images = build(config.dataset, "dataset", plugins=config.plugins, returns=Images)
    described = describe(images)
    content = _content(config, described)
    folder = _folder(cache, content)
    if not _is_there(folder, content):
        assignment, public = divide(images, partition, config)
        _write(folder, images, assignment, public, shift, content)
    remember(cache, key, described)
    return Shards(folder)


def _content(config: Config, described: Described) -> dict[str, Any]:
    """Return all that determines the prepared data: of the dataset what it contains, not where it comes from."""
    code = code_sha256(targets([config.partition, config.shift]))
    return {"format": FORMAT, **identity(config, "data"), **described, "code_sha256": code}


def _folder(cache: Path, content: dict[str, Any]) -> Path:
    return cache / f"{content['dataset']}-{hash_of(content)[:20]}"


def _cache_folder(config: Config) -> Path:
    named = config.cache or os.environ.get("FEDPERS_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "fedpers"


def _is_there(folder: Path, content: dict[str, Any]) -> bool:
    """Tell whether data are prepared, and what was written; damaged ones are put out of the way.

    So are those of a partition or shift whose code cannot be read: it may be another one by now.
    """
    if not folder.is_dir():
        return False
    problem = _damage(folder, content) if content["code_sha256"] else "their partition's or shift's code cannot be read"
    if problem is None:
        return True
    log.warning("the prepared data in %s will be made anew (%s)", folder, problem)
    with scratch_folder(".damaged-", folder.parent) as trash, contextlib.suppress(FileNotFoundError):
        folder.rename(trash / "old")  # unless another run was faster
    return False


def _damage(folder: Path, content: dict[str, Any]) -> str | None:
    """Return what is wrong with a prepared folder, if anything."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if not isinstance(manifest, dict) or manifest.get("manifest_sha256") != _seal(manifest):
            return f"{MANIFEST} has another checksum"
        if {key: manifest.get(key) for key in content} != json.loads(json.dumps(content)):
            return f"{MANIFEST} is of other data"
        files: dict[str, str] = manifest["files"]
        for name, expected in files.items():
            if _sha256(folder / name) != expected:
                return f"{name} has another checksum"
    except (OSError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _seal(manifest: dict[str, Any]) -> str:
    """Return a hash of a manifest's other entries."""
    return hash_of({key: value for key, value in manifest.items() if key != "manifest_sha256"})


def _clients(bounds: Indices, labels: Indices, num_classes: int) -> pa.Table:
    """Return one row for each client: its number, its samples in each split, its samples of each class."""
    histograms = [np.bincount(labels[start:end], minlength=num_classes) for start, *_, end in bounds.tolist()]
    sizes = dict(zip(SPLITS, np.diff(bounds, axis=1).T, strict=True))
    return pa.table(
        {
            "client": np.arange(len(bounds)),
            **sizes,
            "label_histogram": pa.array(histograms, pa.list_(pa.int64())),
        }
    )


def _write(
    folder: Path, images: Images, assignment: Assignment, public: Indices, shift: Shift, content: dict[str, Any]
) -> None:
    """Write a prepared folder under a temporary name, then rename it."""
    remedy = "Name a folder with room and write permission: cache=DIR"
    with writing(f"prepared data in {folder.parent}", remedy):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(".preparing-", folder.parent) as scratch:
            _write_arrays(scratch, images, assignment, public, shift, int(content["seed"]))
            files = sorted(scratch.iterdir())
            manifest = {
                **content,
                "assignment_sha256": assignment_sha256(assignment),
                "num_classes": images.num_classes,
                "classes": images.classes,
                "shape": images.shape,
                "dtype": str(images.pixels.dtype),
                "num_clients": len(assignment),
                "files": {path.name: _sha256(path) for path in files},
            }
            manifest["manifest_sha256"] = _seal(manifest)
            (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
            scratch.chmod(0o755)
            try:
                scratch.rename(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another run was faster, with the same content
                    raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_arrays(
    scratch: Path, images: Images, assignment: Assignment, public: Indices, shift: Shift, seed: int
) -> None:
    index = np.concatenate([*(part for parts in assignment for part in parts), public])
    sizes = np.array([[len(part) for part in parts] for parts in assignment])
    ends = sizes.cumsum().reshape(sizes.shape)
    bounds = np.column_stack([np.concatenate([[0], ends[:-1, -1]]), ends])
    labels = images.labels[index]
    shape = (len(index), *images.pixels.shape[1:])
    with (scratch / "pixels.npy").open("wb") as file:
        # written, not mapped: what is mapped would count as this process's memory
        header = {"descr": np.lib.format.dtype_to_descr(images.pixels.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for first, last in _portions(bounds):
            rows = slice(int(bounds[first, 0]), int(bounds[last - 1, -1]))
            pixels = images.pixels[index[rows]]
            if type(shift) is not Shift:
                for client in range(first, last):
                    own = slice(int(bounds[client, 0]), int(bounds[client, -1]))
                    here = slice(own.start - rows.start, own.stop - rows.start)
                    pixels[here], labels[own] = _shifted(shift, pixels[here], labels[own], client, seed, images)
            file.write(np.ascontiguousarray(pixels).data)
        file.write(np.ascontiguousarray(images.pixels[public]).data)
    np.save(scratch / "labels.npy", labels)
    np.save(scratch / "index.npy", index)
    np.save(scratch / "bounds.npy", bounds)
    pq.write_table(_clients(bounds, labels, images.num_classes), scratch / CLIENTS)


def _shifted(
    shift: Shift, pixels: Pixels, labels: Indices, client: int, seed: int, images: Images
) -> tuple[Pixels, Indices]:
    """Return a client's samples as it sees them.

    Raises:
        UserError: the shift, which may be a plugin's, makes something else of them.
    """
    made = shift.apply(pixels, labels, client, seed, images.num_classes)
    new_pixels, new_labels = (np.asarray(each) for each in made)
    kind = f"shift._target_={type(shift).__module__}.{type(shift).__qualname__}"
    if new_pixels.dtype != pixels.dtype or new_pixels.shape != pixels.shape or not np.isfinite(new_pixels).all():
        raise UserError(
            f"{kind} turns images of {pixels.dtype}, {pixels.shape}, into {new_pixels.dtype}, {new_pixels.shape}. "
            "Accepted: the same type and shape, and finite"
        )
    if (
        new_labels.shape != labels.shape
        or new_labels.dtype.kind not in "iu"
        or not 0 <= new_labels.min() <= new_labels.max() < images.num_classes
    ):
        raise UserError(f"{kind} gives labels that do not fit. Accepted: one from 0 to {images.num_classes - 1} each")
    return made


def _portions(bounds: Indices) -> Iterator[tuple[int, int]]:
    """Cut the clients into runs of some thousand samples each."""
    first = 0
    for client in range(1, len(bounds) + 1):
        if client == len(bounds) or bounds[client, -1] - bounds[first, 0] > CHUNK:
            yield first, client
            first = client
