"""Prepared shards: their content, and that they appear on disk once and whole."""

import errno
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from ondisk import read_spec
from sklearn.datasets import load_digits

from fedpers.config.keys import Config
from fedpers.data import division
from fedpers.data.prepare import prepare
from fedpers.data.shards import SPLITS
from fedpers.errors import UserError

MakeConfig = Callable[..., Config]
MEAN, STD = 0.3053, 0.3760  # configs/dataset/digits.yaml


@pytest.fixture
def digits_config(tmp_path: Path) -> MakeConfig:
    """Make a configuration of the digits with its cache in `tmp_path`; `choice` names the partition."""

    def make(choice: str = "dirichlet", **changes: Any) -> Config:
        values: dict[str, Any] = {
            "dataset": read_spec("dataset", "digits"),
            "partition": read_spec("partition", choice),
            "cache": str(tmp_path / "cache"),
        }
        return Config(**values | changes)

    return make


def test_clients_get_their_samples_normalized(digits_config: MakeConfig) -> None:
    prepared = prepare(digits_config())
    index = np.load(prepared.folder / "index.npy")
    raw = load_digits()
    start = 0
    for number in range(prepared.num_clients):
        client = prepared.client(number)
        for split in (client.train, client.val, client.test):
            rows = index[start : start + len(split)]
            levels = np.rint(raw.images[rows] * 255 / 16)
            expected = (levels / 255 - MEAN) / STD
            assert split.inputs.shape == (len(rows), 1, 8, 8)
            assert split.inputs.dtype == torch.float32
            np.testing.assert_allclose(split.inputs[:, 0].numpy(), expected, atol=1e-5)
            assert_array_equal(split.labels.numpy(), raw.target[rows])
            start += len(split)
    assert_array_equal(np.sort(index), np.arange(1797))


def test_one_pixel_by_hand(digits_config: MakeConfig) -> None:
    prepared = prepare(digits_config(choice="iid"))
    # the first digit begins with levels 0 0 5 13, stored as 0 0 80 207:
    # (0/255 - 0.3053) / 0.3760 = -0.81197, (80/255 - 0.3053) / 0.3760 = 0.02241, (207/255 - ...) = 1.34698
    position = int(np.flatnonzero(np.load(prepared.folder / "index.npy") == 0)[0])
    bounds = np.load(prepared.folder / "bounds.npy")
    client = int(np.searchsorted(bounds[:, 3], position, side="right"))
    part = int(np.searchsorted(bounds[client, 1:], position, side="right"))
    split = getattr(prepared.client(client), SPLITS[part])
    first = split.inputs[position - int(bounds[client, part]), 0, 0, :4].tolist()
    assert first == pytest.approx([-0.81197, -0.81197, 0.02241, 1.34698], abs=1e-5)


def test_manifest(digits_config: MakeConfig) -> None:
    prepared = prepare(digits_config(seed=3))
    manifest = json.loads((prepared.folder / "manifest.json").read_text())
    index = np.load(prepared.folder / "index.npy")
    bounds = np.load(prepared.folder / "bounds.npy")
    target = load_digits().target
    assert manifest["dataset"] == "digits"
    assert manifest["num_classes"] == prepared.num_classes == 10
    assert manifest["shape"] == [1, 8, 8]
    assert prepared.shape == (1, 8, 8)
    assert manifest["num_clients"] == prepared.num_clients == 20
    assert manifest["seed"] == 3
    assert manifest["splits"] == [0.6, 0.15, 0.25]
    assert manifest["partition"]["alpha"] == 0.3
    clients = pd.read_parquet(prepared.folder / "clients.parquet")
    histogram = np.stack(clients.label_histogram.to_list())
    assert histogram.sum(axis=0).tolist() == np.bincount(target).tolist()
    sizes = clients[list(SPLITS)].to_numpy()
    assert_array_equal(sizes, np.diff(bounds, axis=1))
    assert_array_equal(sizes.sum(axis=1), histogram.sum(axis=1))
    assert_array_equal(prepared.sizes, sizes.sum(axis=1))
    assert sizes.sum() == 1797
    first = index[: bounds[0, 3]]
    assert histogram[0].tolist() == np.bincount(target[first], minlength=10).tolist()
    parts = [tuple(np.split(index[b[0] : b[3]], b[1:3] - b[0])) for b in bounds]
    assert manifest["assignment_sha256"] == division.assignment_sha256(parts)


def test_second_prepare_writes_nothing(digits_config: MakeConfig) -> None:
    def times(folder: Path) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}

    first = prepare(digits_config())
    before = times(first.folder)
    assert len(before) == 7
    second = prepare(digits_config(lr=0.5, rounds=3))  # nothing that concerns the data
    assert second.folder == first.folder
    assert times(second.folder) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"splits": [0.5, 0.25, 0.25]},
        {"partition": read_spec("partition", "dirichlet") | {"alpha": 0.4}},
        {"dataset": read_spec("dataset", "digits") | {"mean": [0.5]}},
    ],
)
def test_what_determines_the_data_determines_the_folder(digits_config: MakeConfig, changes: dict[str, Any]) -> None:
    assert prepare(digits_config(**changes)).folder != prepare(digits_config()).folder


def test_arrays_are_memory_mapped_and_read_when_asked_for(digits_config: MakeConfig) -> None:
    prepared = prepare(digits_config(choice="iid"))
    client = prepared.client(0)
    assert client.pixels.dtype == torch.uint8
    file = np.load(prepared.folder / "pixels.npy", mmap_mode="r+")
    file[0] = 77
    file.flush()
    assert (client.pixels[0] == 77).all()
    assert client.train is client.train  # read once
    client.pixels[0] = 78  # somebody's mistake
    assert (file[0] == 77).all()


def test_images_lie_in_channels_last_order(digits_config: MakeConfig) -> None:
    client = prepare(digits_config(choice="iid")).client(0)
    batch = next(client.train.shuffled(4, torch.Generator()))
    for inputs in (client.train.inputs, batch.inputs):
        assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_empty_validation_split(digits_config: MakeConfig) -> None:
    client = prepare(digits_config(choice="iid", splits=[0.75, 0.0, 0.25])).client(0)
    assert len(client.val) == 0
    assert client.val.inputs.shape == (0, 1, 8, 8)
    assert len(client.train) + len(client.test) == len(client.labels)


def test_cache_holds_nothing_but_the_folder(digits_config: MakeConfig, tmp_path: Path) -> None:
    prepared = prepare(digits_config())
    assert sorted((tmp_path / "cache").iterdir()) == [prepared.folder, tmp_path / "cache" / "sources"]


def test_cache_from_the_environment(digits_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPERS_CACHE", str(tmp_path / "elsewhere"))
    assert prepare(digits_config(cache=None)).folder.parent == tmp_path / "elsewhere"
    assert prepare(digits_config()).folder.parent == tmp_path / "cache"


@pytest.mark.parametrize("below", ["", "deeper"])
def test_cache_that_cannot_be_written(digits_config: MakeConfig, tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"  # a folder without permission would not stop root
    file.write_text("")
    with pytest.raises(UserError) as caught:
        prepare(digits_config(cache=str(file / below)))
    assert str(file) in str(caught.value)
    assert "cache=DIR" in str(caught.value)


def test_full_disk_leaves_nothing_behind(
    digits_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = np.save

    def full(path: Path, array: Any) -> None:
        if Path(path).name == "index.npy":
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        prepare(digits_config())
    assert list((tmp_path / "cache").iterdir()) == []


def test_two_runs_may_prepare_at_once(
    digits_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    barrier = threading.Barrier(2)
    assign = division.assign

    def assign_together(*args: Any) -> Any:
        barrier.wait(timeout=20)  # both have found that there is no folder
        return assign(*args)

    monkeypatch.setattr(division, "assign", assign_together)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(prepare, [digits_config(choice="iid")] * 2)
    assert first.folder == second.folder
    assert_array_equal(first.client(3).pixels, second.client(3).pixels)
    assert sorted((tmp_path / "cache").iterdir()) == [first.folder, tmp_path / "cache" / "sources"]
