"""Broken data, as a user meets it: exit code 2, one message that names file and remedy, nothing in the cache."""

import gzip
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from ondisk import (
    CIFAR10_TRAIN,
    CINIC10_CLASSES,
    idx,
    png,
    write_fashion_mnist,
    write_femnist_hub,
    write_image_folder,
    write_leaf,
)

from fedpers.run import main

WRITERS = {f"f{number:04}_00": 12 for number in range(6)}


def truncated_archive(root: Path) -> None:
    write_fashion_mnist(root, 40, 20, compressed=True, layout="direct")
    path = root / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])


def wrong_checksum(root: Path) -> None:
    (root / "cifar-10-batches-py").mkdir(parents=True)
    for name in (*CIFAR10_TRAIN, "test_batch", "batches.meta"):
        (root / "cifar-10-batches-py" / name).write_bytes(pickle.dumps({}))


def missing_column(root: Path) -> None:
    write_femnist_hub(root, WRITERS)
    path = next(root.glob("*.parquet"))
    pq.write_table(pq.read_table(path).drop_columns(["writer_id"]), path)


def label_out_of_range(root: Path) -> None:
    write_fashion_mnist(root, 40, 20, layout="direct")
    (root / "train-labels-idx1-ubyte").write_bytes(idx(np.full(40, 11)))


def image_of_another_size(root: Path) -> None:
    write_image_folder(root, ("train", "valid", "test"), CINIC10_CLASSES)
    (root / "valid" / "cat" / "0006.png").write_bytes(png(np.zeros((31, 32, 3), np.uint8)))


def empty_writer(root: Path) -> None:
    write_leaf(root / "all_data", WRITERS)
    path = root / "all_data" / "all_data_2.json"
    content: dict[str, Any] = json.loads(path.read_text())
    content["user_data"]["f0005_00"] = {"x": [], "y": []}
    path.write_text(json.dumps(content))


def nothing(root: Path) -> None:
    root.mkdir()


BROKEN: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "no network": (
        nothing,
        ["dataset=cifar10", "dataset.download=true"],
        "dataset 'cifar10' was not found in dataset.root='ROOT'.\nLooked for:\n"
        "  - ROOT/cifar-10-batches-bin/{data_batch_1.bin,data_batch_2.bin,data_batch_3.bin,data_batch_4.bin,"
        "data_batch_5.bin,test_batch.bin} (the binary version)\n"
        "  - ROOT/cifar-10-batches-py/ (the Python version)\n"
        "The download was tried and failed: ",
    ),
    "truncated archive": (
        truncated_archive,
        ["dataset=fashion_mnist"],
        "ROOT/train-images-idx3-ubyte.gz is damaged (Compressed file ended before the end-of-stream marker was "
        "reached). Remove it and fetch it again\n",
    ),
    "wrong checksum": (
        wrong_checksum,
        ["dataset=cifar10"],
        "the files in ROOT/cifar-10-batches-py differ from the published ones (torchvision: Dataset not found or "
        "corrupted. You can use download=True to download it). Remove the folder and fetch it again, or use the binary "
        "version",
    ),
    "missing column": (
        missing_column,
        ["dataset=femnist", "partition=natural"],
        "ROOT/train-00000-of-00001.parquet has no column 'writer_id'. It has: image, hsf_id, character. Accepted: the "
        "columns of flwrlabs/femnist\n",
    ),
    "label out of range": (
        label_out_of_range,
        ["dataset=fashion_mnist"],
        "ROOT/train-labels-idx1-ubyte: labels run from 11 to 11. Accepted: 0 to 9. It is damaged or another dataset's: "
        "remove it and fetch it again",
    ),
    "image of another size": (
        image_of_another_size,
        ["dataset=cinic10"],
        "ROOT/valid/cat/0006.png: an image of 31x32 pixels (height x width). Accepted: images of 32x32",
    ),
    "empty writer": (
        empty_writer,
        ["dataset=femnist", "partition=natural"],
        "ROOT/all_data/all_data_2.json: writer 'f0005_00' is listed in `users` and has no samples in `user_data`. "
        "Remove the name or make the file again with LEAF's preprocess.sh\n",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_input(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks, overrides, message = BROKEN[what]
    root, cache, out = tmp_path / "data", tmp_path / "cache", tmp_path / "run"
    breaks(root)
    monkeypatch.setattr("socket.getaddrinfo", no_name)
    before = sorted(root.rglob("*"))
    capsys.readouterr()
    assert main([*overrides, f"dataset.root={root}", f"cache={cache}", f"out={out}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message.replace('ROOT', str(root))}"), error
    assert "Traceback" not in error
    assert not list(cache.rglob("*")) if cache.exists() else True
    assert not out.exists()
    assert sorted(root.rglob("*")) == before


def no_name(*args: Any, **kwargs: Any) -> None:
    raise OSError("Temporary failure in name resolution")


@pytest.mark.parametrize(("where", "blocks"), [("cache", 200), ("gathering", 60)])
@pytest.mark.slow
def test_a_disk_that_is_full(where: str, blocks: int, tmp_path: Path) -> None:
    """A limit on the size of files, in KiB, fails a write as a full disk does."""
    write_leaf(tmp_path / "all_data", {name: 100 for name in WRITERS})
    cache, scratch = tmp_path / "cache", tmp_path / "scratch"
    scratch.mkdir()
    overrides = ["dataset=glyphs", "dataset.num_writers=10"] if where == "cache" else ["dataset=femnist"]
    overrides += [f"dataset.root={tmp_path}"] if where == "gathering" else []
    command = [sys.executable, "-m", "fedpers.run", *overrides, "partition=natural", f"cache={cache}"]
    shown = subprocess.run(
        ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", *command, f"out={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": str(tmp_path)},
    )
    assert shown.returncode == 2, shown.stderr
    expected = {
        "cache": f"error: prepared data in {cache} cannot be written (File too large). Name a folder with room",
        "gathering": f"error: the images of femnist could not be kept in {scratch} (File too large). Name a folder",
    }
    assert expected[where] in shown.stderr
    assert "Traceback" not in shown.stderr
    assert not list(cache.rglob("*")) if cache.exists() else True
    assert not list(scratch.iterdir())
    assert not (tmp_path / "run").exists()


def test_gzip_is_what_is_truncated(tmp_path: Path) -> None:
    """The archive of the test above is whole but for its end."""
    truncated_archive(tmp_path)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz") as file, pytest.raises(EOFError):
        file.read()
