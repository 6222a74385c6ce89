"""Models that a run keeps: loaded again they are what was scored, and three lines classify an image file."""

import json
from pathlib import Path

import pytest
import torch
from federations import chosen
from PIL import Image

from fedpers import assembly
from fedpers.config.compose import group_choices
from fedpers.errors import UserError
from fedpers.results import Run
from fedpers.training import score

KINDS = ["fedd2s", "knn_per", "fedproto", "fedrod", "apfl"]
"""Personal models of different kinds: a mixture with a head, with a memory, prototypes, two heads, mixed weights."""

STRATEGIES = [
    pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in sorted(group_choices("strategy"))
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_loaded_model_is_the_one_that_was_scored(strategy: str, federate, cache) -> None:
    run = federate(*chosen(strategy), "model=cnn", "participation=0.75", f"cache={cache}", "save=last")
    _, shards = assembly.open_run(run.config.to_json())
    table = run.scores[(run.scores["round"] == 3) & (run.scores.split == "test")].set_index(["model", "client"])
    for client in range(4):
        found = score(run.model(client).model, shards.client(client).test)
        assert found.accuracy == table.loc[("personal", client), "accuracy"]
        assert found.loss == pytest.approx(table.loc[("personal", client), "loss"], rel=1e-6)
    if "global" in table.index:
        found = score(run.model("global").model, shards.client(2).test)
        assert found.accuracy == table.loc[("global", 2), "accuracy"]
    else:
        with pytest.raises(UserError, match=r"holds no model of client 'global'. Accepted: 0 to 3; there is no global"):
            run.model("global")


@pytest.mark.parametrize("strategy", KINDS)
def test_three_lines_classify_an_image_file(strategy: str, federate, tmp_path: Path, cache: Path) -> None:
    run = federate(*chosen(strategy), f"cache={cache}", "save=last")
    _, shards = assembly.open_run(run.config.to_json())
    pixels, test = shards.client(1).pixels, shards.client(1).test
    first = len(pixels) - len(test)
    right = 0
    for number in range(len(test)):
        Image.fromarray(pixels[first + number, :, :, 0].numpy()).save(tmp_path / "image.png")
        model = Run(run.folder).model(1)
        right += model.classify(tmp_path / "image.png") == int(test.labels[number])
    table = run.scores[(run.scores["round"] == 3) & (run.scores.split == "test") & (run.scores.client == 1)]
    assert right / len(test) == pytest.approx(table[table.model == "personal"].accuracy.item())


def test_images_are_made_ready(federate, tmp_path: Path, cache: Path) -> None:
    model = federate("strategy=fedavg", f"cache={cache}").model("global")
    large = Image.new("RGB", (40, 30), (255, 0, 0))
    seen = model.prepare(large)
    assert seen.shape == (1, *model.shape)
    grey = (299 * 255 // 1000) / 255  # how Pillow weighs red
    assert seen.flatten().tolist() == pytest.approx([(grey - model.mean[0]) / model.std[0]] * seen.numel(), abs=0.02)
    assert float(model.probabilities(large).sum()) == pytest.approx(1.0)
    assert not model.model.training
    (tmp_path / "text.png").write_text("no image")
    for name in ("text.png", "nowhere.png"):
        with pytest.raises(UserError, match=rf"{name} is no image that can be read"):
            model.prepare(tmp_path / name)


def test_the_best_round_is_the_one_chosen_on_validation(federate, cache: Path) -> None:
    run = federate("strategy=fedavg", "rounds=6", "lr=2.0", f"cache={cache}", "save=best")
    best = run.summary["validation_selected"]["test"]["personal"]["round"]
    listing = json.loads((run.folder / "models/model.json").read_text())
    assert (listing["round"], listing["chosen"]) == (best, "best")
    assert run.model(0).round == best < 6


def test_nothing_is_kept_that_nobody_asked_for(federate, cache: Path, monkeypatch) -> None:
    run = federate("strategy=local", f"cache={cache}", "save=none")
    assert not (run.folder / "models").exists()
    with pytest.raises(UserError, match=r"model.json is missing: the run has kept no models. Run it with save=last"):
        run.model(0)
    monkeypatch.setattr("fedpers.wire.export.LIMIT", 1000)
    assert not (federate("strategy=local", f"cache={cache}").folder / "models").exists()
    assert (federate("strategy=local", f"cache={cache}", "save=last").folder / "models").exists()


def test_clients_of_several_architectures(federate, cache: Path) -> None:
    run = federate("strategy=local", "model=mixed", "rounds=1", f"cache={cache}")
    _, shards = assembly.open_run(run.config.to_json())
    table = run.scores[run.scores.split == "test"].set_index("client").accuracy
    assert [score(run.model(k).model, shards.client(k).test).accuracy for k in range(4)] == table.tolist()


def test_what_is_damaged_or_not_allowed_is_named(federate, cache: Path) -> None:
    run = federate("strategy=knn_per", "rounds=1", f"cache={cache}")
    path, listing = run.folder / "models/client-00001.safetensors", run.folder / "models/model.json"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"client-00001.safetensors is damaged: it is not what was written"):
        run.model(1)
    path.unlink()
    with pytest.raises(UserError, match=r"client-00001.safetensors cannot be read"):
        run.model(1)
    with pytest.raises(UserError, match=r"holds no model of client 9. Accepted: 0 to 3 or \"global\""):
        run.model(9)
    text = listing.read_text()
    listing.write_text(text.replace("strategies.knn_per.Neighbours", "os.system"))
    with pytest.raises(UserError, match=r"models/model.json='os.system' is not allowed"):
        run.model(0)
    listing.write_text(text[:100])
    with pytest.raises(UserError, match=r"model.json is damaged"):
        run.model(0)


def test_a_model_that_no_file_can_hold_costs_its_own(federate, cache: Path) -> None:
    """An algorithm from outside whose model has no recipe is scored as ever; its models alone are not kept."""
    run = federate("strategy=fedavg", "plugins=[toys]", "strategy._target_=toys.Unkept", "rounds=1", f"cache={cache}")
    assert run.summary["last"]
    with pytest.raises(UserError, match=r"client 0 could not be kept: TypeError: head is a Doubled, which has"):
        run.model(0)
    assert isinstance(run.model("global").model(torch.zeros(1, 1, 8, 8)), torch.Tensor)
