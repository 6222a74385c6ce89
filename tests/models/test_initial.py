"""Runs that start from saved weights: a warm start, and what does not fit."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from fedpers import assembly
from fedpers.errors import UserError
from fedpers.results import Run


@pytest.fixture
def kept(federate) -> Run:
    return federate("strategy=fedavg", "rounds=2")


def test_a_run_starts_where_another_ended(federate, config, kept: Run) -> None:
    """From a run's global model and from its file alike; the first scores are better than from random weights."""
    file = kept.folder / "models/global.safetensors"
    warm, again = federate("strategy=fedavg", f"init={kept.folder}"), federate("strategy=fedavg", f"init={file}")
    cold = federate("strategy=fedavg")
    last = kept.scores[kept.scores["round"] == 2].loss.mean()
    losses = [run.scores[run.scores["round"] == 1].loss.mean() for run in (warm, cold)]
    assert losses[0] < last < losses[1]
    assert warm.scores.equals(again.scores)
    composed = config("strategy=fedavg", f"init={file}")
    _, shards = assembly.open_run(composed.to_json())
    saved = safetensors.torch.load_file(file)
    assert all(torch.equal(saved[key], w) for key, w in assembly.build_model(composed, shards).state_dict().items())


def test_another_seed_starts_from_the_same_weights(config, kept: Run) -> None:
    models = []
    for seed in (0, 1):
        composed = config(f"init={kept.folder}", f"seed={seed}")
        _, shards = assembly.open_run(composed.to_json())
        models.append(assembly.build_model(composed, shards).state_dict())
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


def changed(path: Path, **tensors: torch.Tensor) -> str:
    found = safetensors.torch.load_file(path) | {key.replace("_", "."): each for key, each in tensors.items()}
    safetensors.torch.save_file(found, path.with_name("changed.safetensors"))
    return str(path.with_name("changed.safetensors"))


def test_what_does_not_fit_is_named(config, kept: Run, tmp_path: Path) -> None:
    file = kept.folder / "models/global.safetensors"

    def refused(init: object, *overrides: str) -> str:
        composed = config(f"init={init}", *overrides)
        config_and_shards = assembly.open_run(composed.to_json())
        with pytest.raises(UserError) as error:
            assembly.check(*config_and_shards)
        return str(error.value)

    assert "unknown tensor in" in (text := refused(changed(file, fc1_wieght=torch.ones(1))))
    assert "'fc1.wieght'. Did you mean 'fc1." in text
    assert "head.bias has the shape (3,)" in (text := refused(changed(file, head_bias=torch.ones(3))))
    assert "and (10,) in the model" in text
    assert "fc1.1.bias has the shape (8,)" in refused(file, "model.hidden=[9,6]")
    assert "lacks fc3.0.bias, fc3.0.weight" in refused(file, "model.hidden=[8,6,6]")
    assert "nowhere holds no weights that can be read" in refused(tmp_path / "nowhere")
    (tmp_path / "text").write_text("no weights")
    assert "text holds no weights that can be read" in refused(tmp_path / "text")
    assert "has kept no global model" in refused(tmp_path)
    assert "several architectures" in refused(file, "model=mixed", "strategy=local")
