"""Glyphs: deterministic, each writer with a style of its own."""

import numpy as np
import pytest
from ondisk import read_spec

from fedpers.config.build import build
from fedpers.data.datasets.glyphs import CHARACTERS, FONTS, _fields
from fedpers.data.images import Images
from fedpers.errors import UserError


def draw(**changes: float) -> Images:
    return build(read_spec("dataset", "glyphs") | {"num_writers": 6, "samples_per_writer": 40} | changes, "dataset")


def test_shapes_labels_and_owners() -> None:
    images = draw()
    assert images.pixels.shape == (240, 28, 28, 1)
    assert images.num_classes == 62
    assert images.owners.tolist() == np.repeat(np.arange(6), 40).tolist()
    assert images.normalization[0][0] > 0.7  # dark on white, as FEMNIST
    frames = np.concatenate([images.pixels[:, 0], images.pixels[:, -1]], 1).mean((1, 2))
    assert (frames > 180).all()  # no character fills the border


@pytest.mark.slow
def test_same_seed_same_images_and_another_writer_changes_none() -> None:
    assert draw().sha256() == draw().sha256()
    assert draw(seed=1).sha256() != draw().sha256()
    assert (draw(num_writers=8).pixels[:240] == draw().pixels).all()


@pytest.mark.slow
def test_writers_have_styles_and_label_distributions() -> None:
    images = draw(num_writers=12, samples_per_writer=100, alpha=0.1)
    ink = 255 - images.pixels[..., 0].astype(float)
    by_writer = [ink[images.owners == writer] for writer in range(12)]
    darkest = [np.percentile(own, 99) for own in by_writer]
    assert max(darkest) - min(darkest) > 50
    most_frequent = [np.bincount(images.labels[images.owners == w], minlength=62).max() for w in range(12)]
    assert min(most_frequent) >= 15  # of 100 samples, where alike writers would have 2 of each character
    even = draw(num_writers=12, samples_per_writer=100, alpha=100)
    assert np.bincount(even.labels[even.owners == 0], minlength=62).max() < 10


@pytest.mark.slow
def test_a_writers_samples_of_a_character_are_nearer_to_each_other_than_to_another_writers() -> None:
    images = draw(num_writers=10, samples_per_writer=150, alpha=0.2)
    ink = 255 - images.pixels[..., 0].astype(float)
    within, between = [], []
    for label in range(62):
        chosen = np.flatnonzero(images.labels == label)[:60]
        for place, one in enumerate(chosen):
            for other in chosen[place + 1 :]:
                same = images.owners[one] == images.owners[other]
                (within if same else between).append(np.abs(ink[one] - ink[other]).mean())
    assert len(within) > 500
    assert len(between) > 500
    assert np.mean(within) < 0.8 * np.mean(between)


def test_every_font_draws_every_character() -> None:
    fields = _fields()
    assert fields.shape[:2] == (len(FONTS), len(CHARACTERS)) == (21, 62)
    inked = (fields < 0).sum((2, 3))
    assert inked.min() > 20
    for font in (fields < 0).reshape(len(FONTS), 62, -1):  # no two characters alike, as placeholders would be
        assert len({drawn.tobytes() for drawn in font}) == 62


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [("num_writers", 0, "at least 1"), ("samples_per_writer", 0, "at least 1"), ("alpha", 0.0, "above 0")],
)
def test_impossible_numbers_are_named(key: str, value: float, accepted: str) -> None:
    with pytest.raises(UserError, match=rf"dataset\.{key}={value} is not possible\. Accepted: .*{accepted}"):
        draw(**{key: value})
