"""The cache: recognized without loading, checked, mended."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from ondisk import write_cifar10_binary

from fedpers.data import prepare as preparing
from fedpers.data.images import Images
from fedpers.data.prepare import prepare
from fedpers.data.sources import fingerprint


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
        return config("dataset=cifar10", *own, "partition.min_samples=3", *overrides)

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


def test_what_a_fingerprint_depends_on(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    spec = {"_target_": "fedpers.data.cifar.cifar10", "root": str(tmp_path)}
    first = fingerprint(spec)
    assert first == fingerprint(dict(spec))
    assert first != fingerprint(spec | {"mean": [0.5] * 3})
    (tmp_path / "b").write_text("b")
    assert first != fingerprint(spec)
    assert fingerprint(spec | {"root": str(tmp_path / "a")}) is not None
    assert fingerprint(spec | {"root": str(tmp_path / "nowhere")}) is None


def test_normalization_is_measured_where_it_is_not_given() -> None:
    pixels = np.zeros((4, 1, 2, 3), np.uint8)
    pixels[..., 0] = 51  # 0.2
    pixels[:2, ..., 1] = 255  # half of them 1: mean and deviation 0.5; the third channel is black
    images = Images("x", pixels, np.zeros(4, np.int64), 1, None, None)
    assert images.normalization == ((0.2, 0.5, 0.0), (1.0, 0.5, 1.0))
    given = Images("x", pixels, np.zeros(4, np.int64), 1, (0.1,) * 3, None)
    assert given.normalization == ((0.1,) * 3, (1.0, 0.5, 1.0))
