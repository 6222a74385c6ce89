"""Prepared data: recognized without loading, checked, mended; and the public set, which belongs to no client."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ondisk import write_cifar10_binary

from fedpers.assembly import open_run
from fedpers.data import prepare as preparing
from fedpers.data.division import hold_out
from fedpers.data.prepare import prepare
from fedpers.errors import UserError


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was loaded, in order."""
    loaded: list[str] = []
    build = preparing.build

    def watch(spec, group, **kwargs):
        if group == "dataset":
            loaded.append(spec["_target_"])
        return build(spec, group, **kwargs)

    monkeypatch.setattr(preparing, "build", watch)
    return loaded


@pytest.fixture
def cifar(config, tmp_path: Path):
    """A configuration of 60 images in CIFAR-10's binary form."""
    write_cifar10_binary(tmp_path / "cifar", num_per_batch=10)

    def make(*overrides: str):
        own = [f"cache={tmp_path / 'cache'}", f"dataset.root={tmp_path / 'cifar'}", "partition.max_samples=null"]
        return config("dataset=cifar10", "dataset.complete=false", *own, "partition.min_samples=3", *overrides)

    return make


def test_a_dataset_is_loaded_once(cifar, loads) -> None:
    folders = [prepare(cifar(*more)).folder for more in ([], [], ["seed=1"], ["seed=1"])]
    assert folders[0] == folders[1] != folders[2] == folders[3]
    assert len(loads) == 2  # for either seed


def test_a_changed_file_is_noticed(cifar, loads, tmp_path: Path) -> None:
    before = prepare(cifar()).folder
    path = tmp_path / "cifar" / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    os.utime(path, ns=(1, 1))
    assert prepare(cifar()).folder != before
    assert len(loads) == 2


def test_a_touched_file_is_loaded_again_and_found_to_be_the_same(cifar, loads, tmp_path: Path) -> None:
    before = prepare(cifar()).folder
    os.utime(tmp_path / "cifar" / "cifar-10-batches-bin" / "test_batch.bin", ns=(1, 1))
    assert prepare(cifar()).folder == before
    assert len(loads) == 2


@pytest.mark.parametrize("name", ["pixels.npy", "labels.npy", "bounds.npy", "index.npy", "clients.parquet"])
@pytest.mark.parametrize("damage", ["one byte", "cut", "gone"])
def test_damaged_data_are_made_anew(cifar, loads, caplog, name: str, damage: str) -> None:
    prepared = prepare(cifar())
    path = prepared.folder / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (b"" if damage == "cut" else bytes([content[-1] ^ 1])))
    again = prepare(cifar())
    assert again.folder == prepared.folder
    assert path.read_bytes() == content
    assert name in caplog.text
    assert "made anew" in caplog.text
    assert len(loads) == 2
    assert sorted(p.name for p in prepared.folder.parent.iterdir()) == [prepared.folder.name, "sources"]


@pytest.mark.parametrize("text", ["", "{", "{}", '{"files": {"no.npy": "0"}}'])
def test_damaged_manifest_is_made_anew(cifar, text: str) -> None:
    prepared = prepare(cifar())
    path = prepared.folder / "manifest.json"
    before = json.loads(path.read_text())
    path.write_text(text)
    assert json.loads((prepare(cifar()).folder / "manifest.json").read_text()) == before


def test_damaged_memory_of_a_source_is_no_obstacle(cifar, loads, tmp_path: Path) -> None:
    before = prepare(cifar()).folder
    (source,) = (tmp_path / "cache" / "sources").iterdir()
    source.write_text("{")
    assert prepare(cifar()).folder == before
    assert len(loads) == 2


CHANGED = {
    "mean": [0.1],
    "std": [9.0],
    "num_classes": 20,
    "shape": [1, 16, 4],
    "dtype": "float32",
    "classes": ["a"] * 10,
}


@pytest.mark.parametrize("key", CHANGED)
def test_a_manifest_that_was_changed_is_made_anew(cifar, loads, caplog, key: str) -> None:
    """It says how images are normalized and how many classes there are."""
    path = prepare(cifar()).folder / "manifest.json"
    before = path.read_bytes()
    path.write_text(json.dumps(json.loads(before) | {key: CHANGED[key]}))
    assert prepare(cifar()).folder == path.parent
    assert path.read_bytes() == before
    assert "will be made anew (manifest.json has another checksum)" in caplog.text


def test_a_manifest_of_other_data_is_made_anew(cifar, caplog) -> None:
    """Its checksum is right, its place is not."""
    mine, other = prepare(cifar()).folder, prepare(dataclasses.replace(cifar(), seed=1)).folder
    shutil.rmtree(mine)
    shutil.copytree(other, mine)
    assert prepare(cifar()).manifest["seed"] == 0
    assert "will be made anew (manifest.json is of other data)" in caplog.text


def test_the_memory_of_a_source_that_was_changed_is_not_believed(cifar, loads, tmp_path: Path) -> None:
    folder = prepare(cifar()).folder
    (path,) = tmp_path.glob("**/sources/*.json")
    for content in ("{}", "[]", "1", "null", path.read_text().replace('"mean": [', '"mean": [0.5, ')):
        path.write_text(content)
        count = len(loads)
        assert prepare(cifar()).folder == folder
        assert len(loads) == count + 1


def test_public_samples_belong_to_nobody(config) -> None:
    composed = config("public_samples=50", "partition.max_samples=null")
    _, shards = open_run(composed.to_json())
    assert shards.sizes.sum() == 1797 - 50
    index = np.load(shards.folder / "index.npy")
    assert len(index) == len(set(index.tolist())) == 1797
    assert index[-50:].tolist() == hold_out(1797, 50, composed.seed).tolist()
    public = shards.public()
    assert public.inputs.shape == (50, 1, 8, 8)
    data = shards.client(0)
    assert data.public is public
    labels = np.load(shards.folder / "labels.npy")
    assert public.labels.tolist() == labels[-50:].tolist()
    assert open_run(config().to_json())[1].client(0).public is None


def test_public_samples_are_left_over_where_possible(config) -> None:
    """So that algorithms with a public set and without share their clients' data."""
    with_them, without = (open_run(config(*keys).to_json())[1] for keys in (["public_samples=50"], []))
    assert with_them.manifest["assignment_sha256"] == without.manifest["assignment_sha256"]
    assert with_them.folder != without.folder
    index = np.load(with_them.folder / "index.npy")
    assert len(set(index.tolist())) == len(index) == 120 + 50


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["public_samples=1797"], r"public_samples=1797 is not possible\. Accepted: fewer than the dataset's 1797"),
        (["public_samples=-1"], r"public_samples=-1"),
    ],
)
def test_impossible_public_sets_are_named(overrides: list[str], message: str, config) -> None:
    with pytest.raises(UserError, match=message):
        open_run(config(*overrides).to_json())
