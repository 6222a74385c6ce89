"""Augmented batches: what moves where, by hand; seeded by client; only what is learnt from."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from federations import metric_files
from torch import Tensor, nn
from toys import make_task, three_parameters

from fedpers.errors import UserError
from fedpers.learning.augment import CropFlip
from fedpers.learning.recipe import Recipe
from fedpers.results import Run
from fedpers.training import Batch, Split
from strategies.fedavg import FedAvg

Federate = Callable[..., Run]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted(image: Tensor, down: int, across: int, black: Tensor) -> Tensor:
    """Return an image whose point (y, x) is (y + down, x + across) of the given one, black outside."""
    channels, height, width = image.shape
    found = black[:, None, None].expand(channels, height, width).clone()
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + across < width:
                found[:, y, x] = image[:, y + down, x + across]
    return found


@pytest.mark.parametrize("flip", [False, True])
def test_every_image_is_one_of_the_shifts(flip: bool) -> None:
    images, black = torch.randn(40, 2, 5, 4, generator=stream()), torch.tensor([-3.0, 7.0])
    found = CropFlip(padding=1, flip=flip)(images, black, stream(1))
    assert found.shape == images.shape
    seen = set()
    for image, made in zip(images, found, strict=True):
        candidates = {
            (down, across, turned): shifted(
                image.flip(2) if turned else image, down, -across if turned else across, black
            )
            for down in (-1, 0, 1)
            for across in (-1, 0, 1)
            for turned in ((False, True) if flip else (False,))
        }
        (which,) = [key for key, each in candidates.items() if torch.equal(each, made)]
        seen.add(which)
    assert len({key[:2] for key in seen}) == 9
    assert {key[2] for key in seen} == ({False, True} if flip else {False})


def test_nothing_to_do_changes_nothing() -> None:
    images = torch.randn(4, 3, 6, 6, generator=stream()).to(memory_format=torch.channels_last)
    found = CropFlip(padding=0, flip=False)(images, torch.zeros(3), stream())
    assert torch.equal(found, images)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_black_is_what_a_pixel_of_0_has_become(federate: Federate) -> None:
    task = make_task(three_parameters(), FedAvg(), [[1.0]], [0])
    task.data.__dict__.update(mean=torch.tensor([127.5]), std=torch.tensor([51.0]))
    task.__dict__["recipe"] = Recipe(augment=CropFlip(padding=3, flip=False))
    made = task._augment("train")(torch.full((50, 1, 2, 2), 9.0))
    assert set(made.unique().tolist()) == {-2.5, 9.0}


def test_only_training_samples_are_augmented_and_each_training_has_its_own_stream() -> None:
    images, seen = torch.randn(8, 1, 6, 6, generator=stream()), list[Tensor]()

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        seen.append(batch.inputs[batch.index.argsort()])
        return F.cross_entropy(model(batch.inputs[:, :, 0, 0]), batch.labels)

    for round, purpose, own in (
        (1, "train", False),
        (1, "train", False),
        (2, "train", False),
        (1, "head", False),
        (1, "train", True),
    ):
        task = make_task(three_parameters(), FedAvg(), [[1.0]], [0], round=round)
        split = Split(images, torch.zeros(8).long())
        task.data.__dict__["train"] = split
        task.__dict__["recipe"] = Recipe(augment=CropFlip(padding=2, flip=True))
        task.fit(objective, purpose=purpose, data=split if own else None)
    first, again, later, other, others = seen
    assert torch.equal(first, again)
    assert not any(torch.equal(first, each) for each in (later, other, others, images))
    assert torch.equal(others, images)


def test_it_is_seeded(federate: Federate) -> None:
    words = ("strategy=fedper", "augment=crop", "model=cnn_small")
    assert metric_files(federate(*words)) == metric_files(federate(*words, "engine.num_threads=2"))
    assert metric_files(federate(*words)) != metric_files(federate("strategy=fedper", "model=cnn_small"))


def test_mistakes_are_named(federate: Federate) -> None:
    with pytest.raises(UserError, match=r"augment\.padding=-1 is not possible. Accepted: a whole number of at least 0"):
        federate("augment=crop", "augment.padding=-1")
