"""Dropout whose numbers are the training's own: by hand, in models of anybody's, on any number of threads."""

from pathlib import Path

import pytest
import torch
from federations import TINY, metric_files
from torch import Tensor, nn

import fedpers
from fedpers import seeds
from fedpers.models.dropout import Beside, Dropout, drawing_from, with_own_streams
from fedpers.models.staged import Staged
from fedpers.training import Split, fit, sgd


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_what_is_kept_is_scaled_and_the_rest_is_zero() -> None:
    with drawing_from(stream()):
        found = Dropout(0.25)(torch.ones(200, 50))
    assert found.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (found == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_whole_channels_are_set_to_zero() -> None:
    with drawing_from(stream()):
        found = Dropout(0.5, whole=True)(torch.ones(40, 6, 3, 3)).flatten(2)
    assert torch.equal(found.amin(2), found.amax(2))
    assert 0 < (found == 0).float().mean() < 1


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_and_everything(p: float) -> None:
    with drawing_from(stream()):
        assert torch.equal(Dropout(p)(torch.ones(3, 4)), torch.full((3, 4), 1 - p))


def test_scoring_drops_nothing_and_training_without_a_stream_is_refused() -> None:
    layer, ones = Dropout(0.5), torch.ones(3, 4)
    assert layer.eval()(ones) is ones
    with pytest.raises(RuntimeError, match=r"outside fedpers\.training\.fit has no stream to draw from"):
        layer.train()(ones)


def test_a_block_within_a_block_gives_the_outer_stream_back() -> None:
    layer, ones = Dropout(0.5), torch.ones(50)
    with drawing_from(stream(1)):
        with drawing_from(stream(2)):
            layer(ones)
        found = layer(ones)
    with drawing_from(stream(1)):
        assert torch.equal(layer(ones), found)


def test_every_layer_of_pytorchs_is_replaced_wherever_it_is() -> None:
    inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3), nn.ModuleList([nn.Dropout2d(0.4)]))
    model = with_own_streams(nn.Sequential(inner, nn.Dropout1d(0.1).eval(), nn.Dropout3d(0.2), nn.AlphaDropout(0.5)))
    found = [(m.p, m.whole, m.training) for m in model.modules() if isinstance(m, Dropout)]
    assert found == [(0.3, False, True), (0.4, True, True), (0.1, True, False), (0.2, True, True)]
    assert isinstance(list(model.children())[-1], nn.AlphaDropout)


def test_the_order_of_samples_is_the_same_with_it() -> None:
    data, orders = Split(torch.randn(20, 3, generator=stream()), torch.arange(20) % 2), []
    for p in (0.0, 0.5):
        with seeds.seeded_initialization(0, "model"):
            model = nn.Sequential(nn.Linear(3, 2), Dropout(p))
        seen: list[Tensor] = []

        def objective(model: nn.Module, batch: object, seen: list[Tensor] = seen) -> Tensor:
            seen.append(batch.index)  # type: ignore[attr-defined]
            return nn.functional.cross_entropy(model(batch.inputs), batch.labels)  # type: ignore[attr-defined]

        optimizer = sgd(model.parameters(), 0.1)
        fit(model, data, epochs=2, batch_size=6, optimizer=optimizer, generator=stream(3), objective=objective)
        orders.append(torch.cat(seen))
    assert torch.equal(orders[0], orders[1])


def test_the_stream_beside_another_leaves_that_alone() -> None:
    generator = stream(5)
    own = Beside(generator).stream
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=stream(5)))
    assert not torch.equal(torch.rand(3, generator=own), torch.rand(3, generator=stream(5)))


def dropping(shape: tuple[int, int, int], num_classes: int) -> Staged:
    body = nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], 16), nn.ReLU(), nn.Dropout(0.5))
    return Staged({"body": body, "head": nn.Linear(16, num_classes)})


@pytest.mark.parametrize("strategy", ["fedper", "fedd2s", "fedkd", "fml", "apfl"])
def test_a_model_with_dropout_gives_the_same_bits_whoever_draws_besides(
    strategy: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [text for text in TINY if not text.startswith("model")]
    runs = []
    for threads in (1, 3):
        torch.manual_seed(threads)
        words = (f"engine.num_threads={threads}", f"cache={cache}")
        runs.append(fedpers.simulate(*small, *words, strategy=strategy, model=dropping, progress=False))
    assert runs[0].summary["num_failures"] == 0
    assert metric_files(runs[0]) == metric_files(runs[1])
