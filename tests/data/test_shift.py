"""Shifts: each client's own features or labels, the same for a group, and nothing else changed."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from ondisk import read_spec

from fedpers.config.build import build
from fedpers.data.prepare import prepare
from fedpers.data.shift import Shift
from fedpers.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 3, 3])


def shift(name: str, **changes: Any) -> Shift:
    made: Shift = build(read_spec("shift", name) | changes, "shift")
    return made


def still(**changes: Any) -> Shift:
    return shift("features", **({"rotation": 0.0, "blur": 0.0, "contrast": 0.0, "noise": 0.0} | changes))


def test_none_changes_nothing() -> None:
    pixels, labels = shift("none").apply(PIXELS, LABELS, 3, 0, 10)
    assert_array_equal(pixels, PIXELS)
    assert_array_equal(labels, LABELS)
    assert_array_equal(still().apply(PIXELS, LABELS, 3, 0, 10)[0], PIXELS)


@pytest.mark.parametrize("key", ["rotation", "blur", "contrast", "noise"])
def test_every_client_has_its_own_camera(key: str) -> None:
    made = still(**{key: {"rotation": 90.0, "blur": 3.0}.get(key, 1.0)})
    seen = [made.apply(PIXELS, LABELS, client, 0, 10)[0] for client in (0, 1, 0)]
    assert seen[0].dtype == np.uint8
    assert seen[0].shape == PIXELS.shape
    assert_array_equal(seen[0], seen[2])
    assert (seen[0] != seen[1]).any()
    assert (seen[0] != PIXELS).any()
    assert (made.apply(PIXELS, LABELS, 0, 1, 10)[0] != seen[0]).any()


def test_groups_share_a_camera() -> None:
    made = still(rotation=90.0, groups=2)
    seen = [made.apply(PIXELS, LABELS, client, 0, 10)[0] for client in (0, 1, 2)]
    assert_array_equal(seen[0], seen[2])
    assert (seen[0] != seen[1]).any()


def test_rotation_by_hand() -> None:
    """A bright column becomes a bright row when the angle is 90 degrees to either side."""
    made = still(rotation=180.0)
    image = np.zeros((1, 11, 11, 1), np.uint8)
    image[0, :, 5] = 255
    for client in range(8):
        angle = made.generator(0, "camera", client).uniform(-180, 180)
        found = made.apply(image, LABELS[:1], client, 0, 10)[0][0, :, :, 0].astype(float)
        rows, columns = np.indices((11, 11)) - 5
        inertia = (found * rows**2).sum(), (found * columns**2).sum()
        steep = abs(np.cos(np.deg2rad(angle))) > abs(np.sin(np.deg2rad(angle)))
        assert (inertia[0] > inertia[1]) == steep


def test_contrast_keeps_the_mean() -> None:
    grey = np.full((1, 4, 4, 1), 100, np.uint8)
    grey[0, 0] = 110
    made = still(contrast=0.5)
    factor = made.generator(0, "camera", 0).uniform
    factor(0, 0), factor(0, 0)
    expected = 102.5 + factor(0.5, 1.5) * (grey[0, :, 0, 0] - 102.5)
    assert_array_equal(made.apply(grey, LABELS[:1], 0, 0, 10)[0][0, :, 0, 0], np.rint(expected))


def test_labels_are_permuted_consistently() -> None:
    made = shift("labels")
    pixels, labels = made.apply(PIXELS, np.arange(10), 0, 0, 10)
    assert_array_equal(pixels, PIXELS)
    assert sorted(labels) == list(range(10))
    assert_array_equal(made.apply(PIXELS, LABELS, 0, 0, 10)[1], labels[LABELS])
    assert (made.apply(PIXELS, np.arange(10), 1, 0, 10)[1] != labels).any()
    grouped = shift("labels", groups=3)
    assert_array_equal(*(grouped.apply(PIXELS, np.arange(10), client, 0, 10)[1] for client in (1, 4)))


def test_some_labels_keep_their_names() -> None:
    made, names = shift("labels", classes=3), np.arange(10)
    moved = [(made.apply(PIXELS, names, client, 0, 10)[1] != names).sum() for client in range(9)]
    assert max(moved) == 3
    assert set(moved) <= {0, 2, 3}


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("none", {"groups": 0}, "shift.groups=0 is not possible. Accepted: at least 1, or null"),
        ("features", {"rotation": -1.0}, "shift.rotation=-1.0 is not possible. Accepted: 0 to 180"),
        ("features", {"contrast": 1.5}, "shift.contrast=1.5 is not possible. Accepted: 0 to 1"),
        ("labels", {"classes": 1}, "shift.classes=1 is not possible. Accepted: 2 to 10, or null"),
        ("labels", {"classes": 11}, "shift.classes=11 is not possible. Accepted: 2 to 10, or null"),
    ],
)
def test_impossible_shift_is_named(name: str, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        shift(name, **changes).apply(PIXELS, LABELS, 0, 0, 10)


def test_prepared_data_hold_what_the_clients_see(config) -> None:
    plain, turned = (prepare(config(f"shift={name}")) for name in ("none", "labels"))
    assert plain.folder != turned.folder
    assert plain.manifest["assignment_sha256"] == turned.manifest["assignment_sha256"]
    made = shift("labels")
    for client in range(4):
        before, after = (shards.client(client) for shards in (plain, turned))
        expected = made.apply(PIXELS, before.labels.numpy(), client, 0, 10)[1]
        assert_array_equal(after.labels, expected)
        assert_array_equal(after.pixels, before.pixels)
        assert_array_equal(turned.label_histogram[client], np.bincount(expected, minlength=10))


def test_a_shifted_federation_runs(federate) -> None:
    run = federate("strategy=fedper", "shift=features", "shift.groups=2", "rounds=1")
    assert run.data["shift"]["groups"] == 2
