"""Plugins that load, divide or shift data: whatever is edited, the data that are served are those of now."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from plugged import writer

from fedpers import closure
from fedpers.client_app import open_run
from fedpers.config.keys import Config
from fedpers.config.moved import MOVED
from fedpers.data import prepare as preparing
from fedpers.data.prepare import prepare
from fedpers.data.shards import Shards
from fedpers.errors import UserError

LOADER = """
from pathlib import Path

import numpy as np

from fedpers.data.images import Images
from own_helper import BRIGHTNESS


def photos(*, root: str | None = None) -> Images:
    value = int(Path({path!r}).read_text()) + BRIGHTNESS
    return Images("photos", np.full((120, 2, 2, 1), value, np.uint8), np.arange(120) % 3, 3, (0.5,), (0.5,))
"""
DIVISION = """
from dataclasses import dataclass

import numpy as np

from fedpers.data.partitions.base import Partition
from fedpers.data.shift import Shift
from own_helper import FIRST, ADDED


@dataclass(frozen=True)
class Halves(Partition):
    def divide(self, labels, seed):
        return [np.arange(FIRST), np.arange(FIRST, len(labels))]


@dataclass(frozen=True)
class Brighter(Shift):
    def apply(self, pixels, labels, client, seed, num_classes):
        return pixels + np.uint8(ADDED), labels
"""
HELPER = "BRIGHTNESS = 1\nFIRST = 60\nADDED = 100\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write a file of the plugin, as before a new process: it is imported anew, its time is another one."""
    put = writer(tmp_path, monkeypatch, ("own_loader", "own_helper", "own_division"))
    put("own_loader.py", LOADER.format(path=str(tmp_path / "value.txt")))
    put("own_helper.py", HELPER)
    put("own_division.py", DIVISION)
    put("value.txt", "10")
    return put


@pytest.fixture
def photos(tmp_path: Path, write) -> Callable[..., Config]:
    """A configuration that loads the plugin's data."""

    def make(**changes: object) -> Config:
        plain = {
            "dataset": {"_target_": "own_loader.photos"},
            "partition": {
                "_target_": "fedpers.data.partitions.base.Iid",
                "num_clients": 2,
                "min_samples": 3,
                "max_samples": None,
            },
            "plugins": ["own_loader", "own_division"],
            "cache": str(tmp_path / "cache"),
        }
        return Config(**plain | changes)

    return make


def brightness(shards: Shards) -> int:
    return int(shards.samples(0, 1).max())


OPEN: list[Callable[[Config], Shards]] = [prepare, lambda config: open_run(config.to_json())[1]]


@pytest.mark.parametrize("opened", OPEN, ids=["prepare", "open_run"])
def test_an_edited_plugin_its_helper_and_a_file_of_its_own_give_new_data(
    photos, write, tmp_path: Path, opened: Callable[[Config], Shards]
) -> None:
    assert brightness(opened(photos())) == 11
    assert brightness(opened(photos())) == 11
    write("own_loader.py", LOADER.format(path=str(tmp_path / "value.txt")).replace("+ BRIGHTNESS", "+ 2 * BRIGHTNESS"))
    assert brightness(opened(photos())) == 12
    write("own_helper.py", HELPER.replace("BRIGHTNESS = 1", "BRIGHTNESS = 20"))
    assert brightness(opened(photos())) == 50
    (tmp_path / "value.txt").write_text("12")
    assert brightness(opened(photos())) == 52


@pytest.mark.parametrize("opened", OPEN, ids=["prepare", "open_run"])
def test_an_edited_plugin_with_a_root_gives_new_data_and_is_loaded_once_otherwise(
    photos, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Callable[[Config], Shards]
) -> None:
    loads, build = [], preparing.build

    def watch(spec, group, **kwargs):
        if group == "dataset":
            loads.append(spec)
        return build(spec, group, **kwargs)

    monkeypatch.setattr(preparing, "build", watch)
    rooted = photos(dataset={"_target_": "own_loader.photos", "root": str(tmp_path / "value.txt")})
    assert [brightness(opened(rooted)) for _ in range(2)] == [11, 11]
    assert len(loads) == 1
    write("own_helper.py", HELPER.replace("BRIGHTNESS = 1", "BRIGHTNESS = 20"))
    assert [brightness(opened(rooted)) for _ in range(2)] == [30, 30]
    assert len(loads) == 2


def test_a_partition_that_is_edited_divides_anew(photos, write) -> None:
    halves = photos(partition=photos().partition | {"_target_": "own_division.Halves"})
    assert prepare(halves).sizes.tolist() == [60, 60]
    write("own_helper.py", HELPER.replace("FIRST = 60", "FIRST = 100"))
    assert prepare(halves).sizes.tolist() == [100, 20]
    write("own_division.py", DIVISION.replace("FIRST", "2 * FIRST").replace("import 2 * FIRST", "import FIRST"))
    write("own_helper.py", HELPER.replace("FIRST = 60", "FIRST = 20"))
    assert prepare(halves).sizes.tolist() == [40, 80]


def test_a_shift_that_is_edited_shifts_anew(photos, write) -> None:
    brighter = photos(shift={"_target_": "own_division.Brighter", "groups": None})
    assert brightness(prepare(brighter)) == 111
    write("own_helper.py", HELPER.replace("ADDED = 100", "ADDED = 200"))
    assert brightness(prepare(brighter)) == 211


def test_a_partition_whose_code_cannot_be_told_divides_every_time(
    photos, write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    halves = photos(partition=photos().partition | {"_target_": "own_division.Halves"})
    read = closure._source
    monkeypatch.setattr(closure, "_source", lambda spec: read(spec) if spec.name != "own_division" else 1 / 0)
    assert prepare(halves).sizes.tolist() == [60, 60]
    write("own_helper.py", HELPER.replace("FIRST = 60", "FIRST = 100"))
    assert prepare(halves).sizes.tolist() == [100, 20]
    assert "code cannot be read" in caplog.text


def test_where_a_partition_lies_does_not_name_the_folder(photos, monkeypatch: pytest.MonkeyPatch, write) -> None:
    before = prepare(photos()).folder
    monkeypatch.setitem(MOVED, "fedpers.data.elsewhere", "fedpers.data.partitions.base")
    moved = photos(partition=photos().partition | {"_target_": "fedpers.data.elsewhere.Iid"})
    assert prepare(moved).folder == before


@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_floats_reach_the_model_as_they_are(photos, write, tmp_path: Path, scale: float) -> None:
    """Normalized once, however often they are asked for; those of bytes are the same images."""
    loader = LOADER.format(path=str(tmp_path / "value.txt")).replace("(0.5,), (0.5,)", "None, None")
    plain = "np.full((120, 2, 2, 1), value, np.uint8)"
    made = "np.arange(1440, dtype=np.uint8).reshape(120, 2, 2, 3)"
    write("own_loader.py", loader.replace(plain, made))
    bytes_ = prepare(photos()).client(1)
    floats_ = f"({made} * np.float64({scale}))"
    write("own_loader.py", loader.replace(plain, floats_))
    shards = prepare(photos())
    assert shards.manifest["dtype"] == "float32"
    for _ in range(2):
        torch.testing.assert_close(shards.client(1).train.inputs, bytes_.train.inputs, rtol=0, atol=1e-3)
    assert shards.samples(0, 3).dtype == np.uint8


WRONG = {
    "overlap": ("[np.arange(80), np.arange(60, 120)]", r"gives sample 60 to clients 2 times. Accepted: once"),
    "beyond": ("[np.arange(60), np.arange(60, 121)]", r"gives client 1 what are no samples.*from 0 to 119"),
    "negative": ("[np.arange(60), np.arange(-60, 0)]", r"gives client 1 what are no samples"),
    "a mask": ("[labels == 0, labels > 0]", r"gives client 0 what are no samples of the dataset \(bool"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_partition_that_divides_something_else_is_named(photos, write, case: str) -> None:
    """A sample in two clients would be trained on in one and tested on in another."""
    shares, message = WRONG[case]
    write(
        "own_division.py",
        DIVISION.replace("def divide(self, labels, seed):", "def assign(self, labels, seed, owners=None):").replace(
            "[np.arange(FIRST), np.arange(FIRST, len(labels))]", shares
        ),
    )
    halves = photos(partition=photos().partition | {"_target_": "own_division.Halves"})
    with pytest.raises(UserError, match=r"partition._target_=own_division.Halves " + message):
        prepare(halves)


SHIFTED = {
    "floats": ("pixels / 255, labels", r"turns images of uint8.*into float64"),
    "smaller": ("pixels[:, :1], labels", r"turns images of uint8, \(60, 2, 2, 1\), into uint8, \(60, 1, 2, 1\)"),
    "labels beyond": ("pixels, labels + 1", r"gives labels that do not fit. Accepted: one from 0 to 2 each"),
    "float labels": ("pixels, labels / 2", r"gives labels that do not fit"),
    "fewer labels": ("pixels, labels[1:]", r"gives labels that do not fit"),
}


@pytest.mark.parametrize("case", SHIFTED)
def test_a_shift_that_makes_something_else_is_named(photos, write, case: str) -> None:
    made, message = SHIFTED[case]
    write("own_division.py", DIVISION.replace("pixels + np.uint8(ADDED), labels", made))
    with pytest.raises(UserError, match=r"shift._target_=own_division.Brighter " + message):
        prepare(photos(shift={"_target_": "own_division.Brighter", "groups": None}))


def test_a_camera_needs_bytes(photos, write, tmp_path: Path) -> None:
    write(
        "own_loader.py",
        LOADER.format(path=str(tmp_path / "value.txt")).replace("value, np.uint8)", "value, np.float32)"),
    )
    camera = {
        "_target_": "fedpers.data.shift.FeatureShift",
        "groups": None,
        "rotation": 9.0,
        "blur": 0.0,
        "contrast": 0.0,
        "noise": 0.0,
    }
    with pytest.raises(UserError, match=r"shift=features is for images of bytes"):
        prepare(photos(shift=camera))
