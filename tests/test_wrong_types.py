"""What a user's own code returns: of another type than agreed, it is named, and nothing is called a bug of fedpers."""

from pathlib import Path

import pytest
from federations import TINY
from plugged import writer

PLUGIN = """
import dataclasses
import numpy as np
from torch import nn
from strategies.fedavg import FedAvg

def plain(shape, num_classes):
    return [nn.Flatten(), nn.Linear(64, num_classes)]
def arrays():
    return np.zeros((100, 8, 8, 1), np.uint8), np.zeros(100)
def nothing():
    return None
def figure(runs, folder):
    return None
class NoUpdate(FedAvg):
    def train(self, task):
        return None
class Plain(FedAvg):
    def train(self, task):
        return dataclasses.replace(super().train(task), send={"head.weight": 1.0})
class Telling(FedAvg):
    def train(self, task):
        return dataclasses.replace(super().train(task), metrics={"mood": "good"})
class Modelless(FedAvg):
    def personalize(self, task):
        return nn.Flatten()
class NoAlgorithm:
    pass
"""

CASES = {
    "a module": (
        ["dataset=mine"],
        "dataset._target_=wrongs.arrays returned a tuple. Accepted: a fedpers.data.images.Images",
    ),
    "no partition": (
        ["partition=mine"],
        "partition._target_=wrongs.nothing returned a NoneType. Accepted: a fedpers.data.p",
    ),
    "no shift": (
        ["shift=mine"],
        "shift._target_=wrongs.nothing returned a NoneType. Accepted: a fedpers.data.shift.Shift",
    ),
    "no module": (
        ["model=mine"],
        "model._target_=wrongs.plain returned a list. Accepted: a torch.nn.modules.module.Module",
    ),
    "no algorithm": (
        ["strategy._target_=wrongs.NoAlgorithm"],
        "strategy._target_=wrongs.NoAlgorithm returned a NoAlgorithm",
    ),
    "no update": (["strategy._target_=wrongs.NoUpdate"], "`train` returned a NoneType, not an Update"),
    "no tensor": (["strategy._target_=wrongs.Plain"], "`train` returned send['head.weight'], a float, not a tensor"),
    "no number": (["strategy._target_=wrongs.Telling"], "`train` returned metrics['mood'], a str, not a number"),
    "no model": (["strategy._target_=wrongs.Modelless"], "`personalize` returned a Flatten, not a Staged"),
    "no files": (
        ["figures=[wrongs.figure]"],
        "figures: wrongs.figure returned a NoneType. Accepted: the list of files",
    ),
    "glob": (["--multirun", "seed=glob(*)"], "seed=glob(*) is no sweep that can be made here"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_of_another_type_is_named(case: str, cli, tmp_path: Path, monkeypatch) -> None:
    writer(tmp_path, monkeypatch, ("wrongs",))("wrongs.py", PLUGIN)
    for group, target in (("dataset", "arrays"), ("partition", "nothing"), ("shift", "nothing"), ("model", "plain")):
        (tmp_path / "own" / group).mkdir(parents=True)
        (tmp_path / "own" / group / "mine.yaml").write_text(f"# mine\n_target_: wrongs.{target}\n")
    words, message = CASES[case]
    small = [text for text in TINY if not text.startswith(("rounds", "strategy", "model.", "partition."))]
    if case == "no files":
        small = [text for text in small if not text.startswith("figures")]
    code, _, err = cli(
        *small,
        "strategy=fedavg",
        "rounds=1",
        "out=run",
        "quiet=true",
        "plugins=[wrongs]",
        "--config-dir",
        "own",
        *words,
    )
    assert code in (1, 2)
    assert message in err, err
    assert "looks like a bug" not in err
    assert "Traceback" not in err
