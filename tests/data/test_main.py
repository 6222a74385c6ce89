"""`python -m fedpers.data`: prepares, prints, draws."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpers.data.__main__ import main


def test_prepares_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "look"
    keys = ["partition.num_clients=30", f"cache={tmp_path / 'cache'}", f"out={folder}"]
    assert main(["digits", "inner_dirichlet", *keys]) == 0
    printed = capsys.readouterr().out
    assert "digits: 1,770 samples of 30 clients, 10 classes, 1x8x8" in printed
    assert "35" in printed.split("median")[1].splitlines()[0]  # of 59 samples 60 % are for training
    names = {"label_distribution", "sizes", "images"}
    assert {path.name for path in folder.iterdir()} == {f"{n}.{kind}" for n in names for kind in ("png", "pdf")}
    for name in names:
        assert str(folder / f"{name}.png") in printed
        with Image.open(folder / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 5
    prepared = Path(printed.strip().splitlines()[-1])
    assert prepared.parent == tmp_path / "cache"
    assert (prepared / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["digits"], "Accepted: a dataset and a partition"),
        (["digit", "iid"], "Did you mean 'digits'?"),
        (["digits", "iid", "partition.alpha=1"], "partition.alpha"),
        (["cifar10", "iid", "dataset.root=/nowhere"], "was not found in dataset.root='/nowhere'"),
        (["digits", "natural"], "the dataset does not say whose its samples are"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, f"cache={tmp_path / 'cache'}"]) == 2
    assert expected in capsys.readouterr().err


def test_help_and_no_arguments() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "fedpers.data", "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    assert shown.returncode == 0
    assert "DATASET PARTITION" in shown.stdout
    assert main([]) == 2
