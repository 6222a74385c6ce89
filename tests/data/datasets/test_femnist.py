"""FEMNIST, in LEAF's JSON and in the hub's Parquet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from ondisk import load, write_femnist_hub, write_leaf

from fedpers.errors import UserError

WRITERS = {"f0001_41": 5, "f0000_14": 4, "f0100_09": 3}


@pytest.mark.parametrize("folder", ["all_data", "data/all_data", "femnist/data/all_data"])
def test_leaf_reads_what_was_written(tmp_path: Path, folder: str) -> None:
    pixels, labels = write_leaf(tmp_path / folder, WRITERS)
    images = load("femnist", tmp_path)
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    assert images.owners.tolist() == [1] * 5 + [0] * 4 + [2] * 3
    assert images.num_classes == 62
    assert images.shape == (1, 28, 28)


def test_a_writer_of_train_and_test_is_one_client(tmp_path: Path) -> None:
    train = write_leaf(tmp_path / "train", WRITERS, seed=1)
    test = write_leaf(tmp_path / "test", {"f0100_09": 2, "f0001_41": 1}, seed=2)
    images = load("femnist", tmp_path)
    assert_array_equal(images.pixels, np.concatenate([train[0], test[0]]))
    assert images.owners.tolist() == [1] * 5 + [0] * 4 + [2] * 3 + [2, 2, 1]


@pytest.mark.parametrize("folder", [".", "data", "femnist/data"])
def test_hub_reads_the_same_from_parquet(tmp_path: Path, folder: str) -> None:
    leaf = tmp_path / "leaf"
    write_leaf(leaf / "all_data", WRITERS, seed=3)
    write_femnist_hub(tmp_path / "hub" / folder, WRITERS, seed=3)
    one, other = load("femnist", leaf), load("femnist", tmp_path / "hub")
    assert one.sha256() == other.sha256()
    assert one.normalization == other.normalization


def change(content: dict[str, Any], what: str) -> None:
    first = content["user_data"]["f0001_41"]
    match what:
        case "not listed":
            content["users"].append("f9999_00")
        case "empty":
            content["user_data"]["f0001_41"] = {"x": [], "y": []}
        case "size":
            first["x"] = [row[:-1] for row in first["x"]]
        case "ragged":
            first["x"][1] = first["x"][1][:-1]
        case "count":
            first["y"].append(3)
        case "label":
            first["y"][2] = 62
        case "scale":
            first["x"][0][0] = 255
        case "key":
            del content["user_data"]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("not listed", "writer 'f9999_00' is listed in `users` and has no samples in `user_data`"),
        ("empty", "writer 'f0001_41' is listed in `users` and has no samples"),
        ("size", "writer 'f0001_41' has 5 labels and images of shape (5, 783). Accepted: as many rows of 784 pixels"),
        ("ragged", "is damaged or none of LEAF's files"),
        ("count", "writer 'f0001_41' has 6 labels and images of shape (5, 784)"),
        ("label", "to 62. Accepted: 0 to 61"),
        ("scale", "where LEAF has 0 to 1"),
        ("key", "KeyError: 'user_data'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, what: str, message: str) -> None:
    write_leaf(tmp_path / "all_data", WRITERS)
    path = tmp_path / "all_data" / "all_data_0.json"
    content = json.loads(path.read_text())
    change(content, what)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        load("femnist", tmp_path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_truncated_json_is_named(tmp_path: Path) -> None:
    write_leaf(tmp_path / "all_data", WRITERS)
    path = tmp_path / "all_data" / "all_data_1.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"all_data_1\.json is damaged or none of LEAF's files \(JSONDecodeError"):
        load("femnist", tmp_path)


def test_without_files_every_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load("femnist", tmp_path)
    for form in ("all_data/*.json", "train/*.json and test/*.json", "**/*.parquet", "dataset.download=true"):
        assert form in str(caught.value)
