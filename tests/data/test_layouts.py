"""Folders of images by client, and tables: whose each image is, what it shows, what is said where nobody can tell."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from ondisk import load, png

from fedpers.data.layouts import levels, natural
from fedpers.errors import UserError
from fedpers.run import main


def write(path: Path, value: int) -> None:
    """Write an image of 6x6 grey points of one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(np.full((6, 6), value, np.uint8)))


IMAGES = [
    ("site_2", "train", "cat", 10),
    ("site_2", "test", "dog", 20),
    ("site_10", "train", "dog", 30),
    ("site_2", "train", "cat", 40),
]
"""Client, split, class and value of each image."""

LAYOUTS = ["client/class/image", "client/split/class/image", "split/class/client/image", "class/client/image"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_say_whose_an_image_is_and_what_it_shows(layout: str, tmp_path: Path) -> None:
    for number, (client, split, label, value) in enumerate(IMAGES):
        names = {"client": client, "split": split, "class": label}
        write(tmp_path.joinpath(*(names[level] for level in levels(layout))) / f"{number}.png", value)
    images = load("image_folder", tmp_path, layout=layout)
    assert images.classes == ("cat", "dog")
    assert images.owners is not None
    found = zip(images.pixels[:, 0, 0, 0].tolist(), images.labels.tolist(), images.owners.tolist(), strict=True)
    assert sorted(found) == [(10, 0, 0), (20, 1, 0), (30, 1, 1), (40, 0, 0)]  # site_2 comes before site_10


def test_without_clients_nobody_owns_anything(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a" / "0.png", 1)
    write(tmp_path / "test" / "b" / "0.png", 2)  # a class that only one split has
    images = load("image_folder", tmp_path, layout="split/class/image")
    assert images.owners is None
    assert images.num_classes == 2


def test_what_is_below_the_last_folder_is_in_it_and_hidden_files_are_not(tmp_path: Path, caplog) -> None:
    write(tmp_path / "me" / "a" / "deep" / "0.png", 1)
    write(tmp_path / "me" / "a" / ".hidden" / "0.png", 2)
    write(tmp_path / ".cache" / "b" / "0.png", 3)
    (tmp_path / "me" / "notes.txt").write_text("hello")
    images = load("image_folder", tmp_path, layout="client/class/image")
    assert images.pixels[:, 0, 0, 0].tolist() == [1]
    assert "2 files were skipped" in caplog.text


def table(folder: Path, text: str) -> None:
    for number in range(3):
        write(folder / "images" / f"{number}.png", 10 * number)
    (folder / "who.csv").write_text(text)


def test_a_table_says_it(tmp_path: Path) -> None:
    table(tmp_path, "path,client,label,age\nimages/2.png,b,x,3\nimages/0.png,a,y,4\nimages/1.png,b,x,\n")
    images = load("image_folder", tmp_path, table="who.csv")
    assert_array_equal(images.pixels[:, 0, 0, 0], [20, 0, 10])
    assert_array_equal(images.labels, [0, 1, 0])
    assert_array_equal(images.owners, [1, 0, 1])
    table(tmp_path, "path,label\nimages/2.png,10\nimages/0.png,9\n")
    images = load("image_folder", tmp_path, table="who.csv")
    assert images.owners is None
    assert images.classes == ("9", "10")


TABLES = {
    "columns": ("file,label\nimages/0.png,a\n", r"who\.csv has columns file, label\. Accepted: columns path and label"),
    "rows": ("path,label\n", r"who\.csv has no rows"),
    "empty": ("path,label\nimages/0.png,a\nimages/1.png,\n", r"who\.csv, line 3: label is empty"),
    "short": ("path,label,client\nimages/0.png,a\n", r"who\.csv, line 2: client is empty"),
    "file": ("path,label\nimages/9.png,a\n", r"who\.csv, line 2: there is no file .*9\.png"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_do_not_say_it(case: str, tmp_path: Path) -> None:
    text, message = TABLES[case]
    table(tmp_path, text)
    with pytest.raises(UserError, match=message):
        load("image_folder", tmp_path, table="who.csv")


def test_a_table_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.table=who\.csv: .*who\.csv cannot be read \(No such file"):
        load("image_folder", tmp_path, table="who.csv")
    (tmp_path / "who.csv").write_bytes(b"path,label\n\xff\xfe\n")
    with pytest.raises(UserError, match=r"cannot be read"):
        load("image_folder", tmp_path, table="who.csv")


@pytest.mark.parametrize(
    "layout", ["client/image", "class", "class/class/image", "user/class/image", "image/class", ""]
)
def test_impossible_layouts_are_named(layout: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"dataset\.layout=.* is not possible. Accepted: client, split and class in any"
    ):
        load("image_folder", tmp_path, layout=layout)


def test_folders_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no folder, and by dataset\.layout there must be one for each client"):
        load("image_folder", tmp_path, layout="client/class/image")
    (tmp_path / "me" / "a").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds no image in folders of client/class"):
        load("image_folder", tmp_path, layout="client/class/image")
    for keys in ({"parts": ["x"], "layout": "client/class/image"}, {"table": "a.csv", "layout": "client/class/image"}):
        with pytest.raises(UserError, match=r"dataset\.(parts|layout) is not possible beside"):
            load("image_folder", tmp_path, **keys)
    with pytest.raises(UserError, match=r"was not found in dataset\.root=.*nowhere"):
        load("image_folder", tmp_path / "nowhere", layout="client/class/image")


def test_numbers_in_names_count_by_their_value() -> None:
    names = ["b", "a10", "a2", "10", "9", "a", "a2b", "²"]
    assert sorted(names, key=natural) == ["9", "10", "a", "a2", "a2b", "a10", "b", "²"]


def test_a_federation_of_those_who_own_the_images(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPERS_CACHE", str(tmp_path / "cache"))
    for client in range(3):
        for number in range(12 + client):
            write(tmp_path / "mine" / f"hospital_{client}" / f"kind_{number % 2}" / f"{number}.png", 10 * number)
    words = ["dataset=image_folder", "dataset.root=mine", "dataset.layout=client/class/image", "partition=natural"]
    words += ["partition.num_clients=null", "partition.min_samples=5", "model=mlp", "strategy=fedper", "rounds=1"]
    assert main([*words, "out=run", "figures=[]", "quiet=true"]) == 0, capsys.readouterr().err
    from fedpers.results import Run

    assert Run("run").clients[["train", "val", "test"]].sum(axis=1).to_list() == [12, 13, 14]
