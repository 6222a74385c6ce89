"""Parquet files as the hub has them: columns, types, parts, damage; and what is fetched."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from ondisk import load, png, write_cinic10_hub, write_femnist_hub

from fedpers.data import parquet
from fedpers.errors import UserError

WRITERS = {"f0001_41": 5, "f0000_14": 4, "f0100_09": 3}


def grey(count: int = 6, side: int = 8) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side), np.uint8)


def table(root: Path, **columns: Any) -> Path:
    """Write six images with columns of one's own; return the file."""
    content = {"image": [{"bytes": png(image), "path": None} for image in grey()], "label": list(range(6))} | columns
    path = root / "some.parquet"
    pq.write_table(pa.table({key: value for key, value in content.items() if value is not None}), path)
    return path


def test_reads_what_the_hub_wrote(tmp_path: Path) -> None:
    pixels, labels = write_cinic10_hub(tmp_path / "things" / "data")
    images = load("hugging_face", tmp_path, path="somebody/things")
    assert images.name == "things"
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    assert images.num_classes == 10  # the files' own description says so, whatever labels there are
    assert images.owners is None
    train = load("hugging_face", tmp_path, path="somebody/things", pattern="train-*.parquet")
    assert_array_equal(train.pixels, pixels[10:20])


def test_columns_and_owners_by_name(tmp_path: Path) -> None:
    pixels, labels = write_femnist_hub(tmp_path, WRITERS, parts=2)
    images = load("hugging_face", tmp_path, label="character", owner="writer_id")
    assert_array_equal(images.pixels, pixels)
    assert_array_equal(images.labels, labels)
    assert images.num_classes == 62
    assert images.owners.tolist() == [1] * 5 + [0] * 4 + [2] * 3  # numbered in the order of their names
    assert images.name == tmp_path.name


def test_labels_may_be_names_or_numbers(tmp_path: Path) -> None:
    table(tmp_path, label=["cat", "ant", "cat", "bee", "ant", "cat"], who=[7, 7, -2, 7, 40, 40])
    images = load("hugging_face", tmp_path, owner="who")
    assert images.labels.tolist() == [2, 0, 2, 1, 0, 2]
    assert images.num_classes == 3
    assert images.owners.tolist() == [1, 1, 0, 1, 2, 2]
    table(tmp_path, label=[True, False, False, True, True, True])
    assert load("hugging_face", tmp_path).labels.tolist() == [1, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("label", "expected", "classes"),
    [
        (pa.array([0, 3, 1, 1, 0, 3], pa.uint8()), [0, 2, 1, 1, 0, 2], ("0", "1", "3")),
        ([2007, 7, 1007, 7, 7, 2007], [2, 0, 1, 0, 0, 2], ("7", "1007", "2007")),
        ([1, 2, 3, 10, 2, 1], [0, 1, 2, 3, 1, 0], ("1", "2", "3", "10")),
        (pa.array(["b", "a", "b", "c", "a", "b"]).dictionary_encode(), [1, 0, 1, 2, 0, 1], ("a", "b", "c")),
        (pa.array([5, 9, 5, 5, 9, 9]).dictionary_encode(), [0, 1, 0, 0, 1, 1], ("5", "9")),
    ],
)
def test_labels_without_declared_names_are_numbered_without_gaps(label, expected, classes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """2,007 empty classes would make the head large and the accuracy small."""
    table(tmp_path, label=label)
    images = load("hugging_face", tmp_path)
    assert (images.labels.tolist(), images.num_classes, images.classes) == (expected, len(classes), classes)


def test_a_number_of_classes_that_is_given_leaves_numbers_as_they_are(tmp_path: Path) -> None:
    table(tmp_path, label=[0, 3, 1, 1, 0, 3])
    images = load("hugging_face", tmp_path, num_classes=9)
    assert (images.labels.tolist(), images.num_classes) == ([0, 3, 1, 1, 0, 3], 9)
    assert images.classes == tuple("012345678")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"label": [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]},
            r"column 'label' is of type double. Accepted: whole numbers, or na",
        ),
        ({"label": [[0], [1], [0], [1], [0], [1]]}, r"column 'label' is of type list<.*Accepted: whole numbers"),
        ({"label": [0, -1, 0, 1, 0, 1]}, r"row 1: 'label' is -1. Accepted: 0 and above"),
        ({"label": pa.array([0, 2**63, 0, 1, 0, 1], pa.uint64())}, r"'label' has numbers that are too large"),
        ({"who": [0.0, float("nan"), 1.0, 1.0, 0.0, 1.0]}, r"column 'who' is of type double. Accepted: whole numbers"),
        ({"who": [[0], [1], [0], [1], [0], [1]]}, r"column 'who' is of type list<.*Accepted: whole numbers, or names"),
    ],
)
def test_labels_and_owners_that_are_no_names(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    table(tmp_path, **{"label": [0, 1, 0, 1, 0, 1], "who": [0, 0, 0, 1, 1, 1]} | columns)
    with pytest.raises(UserError, match=message):
        load("hugging_face", tmp_path, owner="who")


def test_names_must_be_as_many_as_the_classes_that_are_asked_for(tmp_path: Path) -> None:
    table(tmp_path, label=["cat", "ant", "cat", "bee", "ant", "cat"])
    with pytest.raises(
        UserError, match=r"num_classes=9 does not fit.*name 3 classes \(ant, bee, cat\). Accepted: null"
    ):
        load("hugging_face", tmp_path, num_classes=9)


def test_images_may_be_plain_bytes_and_are_converted_when_asked(tmp_path: Path) -> None:
    table(tmp_path, image=[png(image) for image in grey()])
    assert_array_equal(load("hugging_face", tmp_path).pixels[..., 0], grey())
    coloured = load("hugging_face", tmp_path, channels=3, size=[4, 6])
    assert coloured.shape == (3, 4, 6)
    assert_array_equal(coloured.pixels[..., 0], coloured.pixels[..., 2])


def other_size() -> list[bytes]:
    return [*(png(image) for image in grey()[:5]), png(grey(1, 9)[0])]


@pytest.mark.parametrize(
    ("changes", "keys", "message"),
    [
        ({"label": None}, {}, "has no column 'label'. It has: image. Name the right one: dataset.image, dataset.label"),
        ({}, {"owner": "writer"}, "has no column 'writer'. It has: image, label."),
        ({"label": [0, 1, 2, 3, 4, 10]}, {"num_classes": 10}, "row 5: 'label' is 10. Accepted: 0 to 9"),
        ({"label": [0, 1, -1, 3, 4, 5]}, {}, "row 2: 'label' is -1. Accepted: 0 and above"),
        ({"label": [0, 1, None, 3, 4, 5]}, {}, "row 2: there is no 'label'. Remove the row"),
        ({"label": [0.5] * 6}, {}, "column 'label' is of type double. Accepted: whole numbers, or names of classes"),
        ({"image": [[1, 2]] * 6}, {}, "its images are of type list"),
        ({"image": [b"x", *[png(grey()[0])] * 5]}, {}, "row 0 is damaged or no image (not in a known format)"),
        ({"image": [png(grey()[0])[:-30]] * 6}, {}, "row 0 is damaged or no image"),
        ({"image": [*[png(grey()[0])] * 5, None]}, {}, "row 5: there is no image"),
        (
            {"image": other_size()},
            {},
            "row 5: an image of 9x9 pixels (height x width). Accepted: images of 8x8; dataset.size=",
        ),
        ({"image": [png(np.zeros((8, 8, 3), np.uint8)), *[png(grey()[0])] * 5]}, {}, "is a grey image"),
        ({"who": ["a", "b", "", "d", "e", "f"]}, {"owner": "who"}, "row 2: 'who' is empty, so nobody knows whose"),
        ({"who": ["a", "b", "c", "d", None, "f"]}, {"owner": "who"}, "row 4: 'who' is empty"),
        ({}, {"channels": 2}, "dataset.channels=2 is not possible. Accepted: 1 (grey), 3 (colour), null"),
        ({}, {"size": [8]}, "dataset.size=[8] is not possible. Accepted: [height, width], null"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, changes: dict[str, Any], keys: dict[str, Any], message: str
) -> None:
    path = table(tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        load("hugging_face", tmp_path, **keys)
    assert message in str(caught.value)
    assert str(path) in str(caught.value) or "dataset." in message


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = table(tmp_path)
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "text": b"hello" * 9}[damage])
    with pytest.raises(UserError, match=r"some\.parquet is damaged or no Parquet file .*fetch it again"):
        load("hugging_face", tmp_path)


def test_a_missing_part_is_noticed(tmp_path: Path) -> None:
    write_femnist_hub(tmp_path / "data", WRITERS, parts=3)
    (tmp_path / "data" / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(UserError, match=r"train-00001-of-00003\.parquet is missing, one of 3 files"):
        load("hugging_face", tmp_path, label="character")


def test_files_that_disagree_about_a_column(tmp_path: Path) -> None:
    table(tmp_path)
    table(tmp_path, label=list("abcdef")).rename(tmp_path / "other.parquet")
    table(tmp_path)
    with pytest.raises(UserError, match="files disagree about a column: int64, string"):
        load("hugging_face", tmp_path)


def test_an_empty_table(tmp_path: Path) -> None:
    pq.write_table(pq.read_table(table(tmp_path)).slice(0, 0), tmp_path / "some.parquet")
    with pytest.raises(UserError, match="there is not one image"):
        load("hugging_face", tmp_path)


def test_fetching_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def fetch(path: str, *, local_dir: Path, **more: Any) -> None:
        asked.append({"path": path, **more})
        (local_dir / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)
        if len(asked) == 1:
            (local_dir / "half.parquet").write_bytes(b"half")
            raise ConnectionError("no route to host")
        (local_dir / "half.parquet").unlink()
        write_femnist_hub(local_dir / "data", WRITERS)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    keys = {"path": "flwrlabs/femnist", "label": "character", "revision": "abc"}
    with pytest.raises(UserError) as caught:
        load("hugging_face", tmp_path, download=True, **keys)
    assert "The download was tried and failed: no route to host" in str(caught.value)
    assert parquet.find(tmp_path) == []
    images = load("hugging_face", tmp_path, download=True, **keys)
    assert len(images.labels) == 12
    assert len(load("hugging_face", tmp_path, download=True, **keys).labels) == 12
    assert len(asked) == 2  # what is there is not fetched again
    assert asked[0]["path"] == "flwrlabs/femnist"
    assert asked[0]["repo_type"] == "dataset"
    assert asked[0]["revision"] == "abc"
    assert not list(tmp_path.rglob(".cache"))
