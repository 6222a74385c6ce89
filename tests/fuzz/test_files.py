"""Damaged files of a run, of prepared data and of datasets: done without, made anew, or named; never another number.

What no checksum covers is what a dataset's own files say: a flipped bit in a pixel is another pixel. CIFAR's and
MNIST's binary files, and raw Parquet columns, have none. And a bit of a figure in a run's tables, once it has ended.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from federations import TINY, tables
from hypothesis import given
from hypothesis import strategies as st
from ondisk import (
    CINIC10_CLASSES,
    write_cifar10_binary,
    write_fashion_mnist,
    write_femnist_hub,
    write_image_folder,
    write_leaf,
)
from tried import Outcomes, counted, damage, damages, outcome, tries

from fedpers.run import main as run
from plots.__main__ import main as plot

SMALL = [text for text in TINY if not text.startswith("rounds")]
WORDS = [*SMALL, "strategy=fedper", "quiet=true"]


@pytest.fixture(scope="module")
def counts() -> Iterator[Outcomes]:
    """What came of this module's damages."""
    yield from counted("files")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run of two rounds, with checkpoints and models, and beside it the same one after four."""
    folder = tmp_path_factory.mktemp("good")
    words = [*WORDS, f"cache={cache}", "checkpoint_every=1"]
    assert run([*words, "rounds=2", f"out={folder / 'run'}"]) == 0
    assert run([*words, "rounds=4", f"out={folder / 'whole'}"]) == 0
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@tries(25)
@given(number=st.integers(0, 999), how=damages(), resumes=st.booleans())
def test_of_a_run(number, how, resumes, good: Path, counts: Outcomes, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    here = tmp_path_factory.mktemp("fuzz") / "run"
    shutil.copytree(good / "run", here)
    path = files(here)[number % len(files(here))]
    damage(path, *how)
    if resumes:
        code, _ = outcome(run, [f"resume={here}", "rounds=4"])
        if code == 0:
            made = {name: data for name, data in tables(here).items() if name.endswith(("3.parquet", "4.parquet"))}
            assert made == {name: data for name, data in tables(good / "whole").items() if name in made}, (path, how)
    else:
        code, _ = outcome(plot, [str(here)])
    counts[f"run, {'resume' if resumes else 'plots'}: {('went on', 'failed', 'named')[code]}"] += 1
    shutil.rmtree(here.parent)


@pytest.mark.slow
@tries(15)
@given(number=st.integers(0, 999), how=damages())
def test_of_prepared_data(number, how, good: Path, cache: Path, counts: Outcomes, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    """Whatever happens to the cache, the numbers are the same."""
    here = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(cache, here / "cache")
    path = files(here / "cache")[number % len(files(here / "cache"))]
    damage(path, *how)
    code, text = outcome(run, [*WORDS, "rounds=2", f"cache={here / 'cache'}", f"out={here / 'run'}"])
    assert code == 0, (path, how, text)
    assert tables(here / "run") == {name: tables(good / "run")[name] for name in tables(here / "run")}, (path, how)
    counts[f"prepared data: {'made anew, said' if 'anew' in text else 'not needed, or made anew'}"] += 1
    shutil.rmtree(here)


DATASETS = ("fashion_mnist", "cifar10", "femnist", "leaf", "image_folder")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few images in each form."""
    folder = tmp_path_factory.mktemp("datasets")
    write_fashion_mnist(folder / "fashion_mnist", 80, 40, compressed=True, layout="direct")
    write_cifar10_binary(folder / "cifar10", 20)
    write_femnist_hub(folder / "femnist", {f"f{number:04}_00": 12 for number in range(6)})
    write_leaf(folder / "leaf", {f"f{number:04}_00": 12 for number in range(6)})
    write_image_folder(folder / "image_folder", ("train", "test"), CINIC10_CLASSES[:3], each=20)
    return folder


@pytest.mark.slow
@tries(25)
@given(name=st.sampled_from(DATASETS), number=st.integers(0, 999), how=damages())
def test_of_datasets(name, number, how, datasets: Path, counts: Outcomes, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    here = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(datasets / name, here / "data")
    path = files(here / "data")[number % len(files(here / "data"))]
    damage(path, *how)
    words = [
        f"dataset={'femnist' if name == 'leaf' else name}",
        f"dataset.root={here / 'data'}",
        f"cache={here / 'cache'}",
        f"out={here / 'run'}",
    ]
    more = ["dataset.complete=false"] if name == "cifar10" else []
    small = [text for text in WORDS if not text.startswith(("dataset=", "partition.max_samples"))]
    code, text = outcome(run, [*small, *words, *more, "rounds=1"])
    assert code in (0, 2), (path, how, text)
    if code == 2:
        assert str(here / "data") in text, (path, how, text)
    counts[f"{name}, {how[0]}: {'named' if code else 'read'}"] += 1
    shutil.rmtree(here)
