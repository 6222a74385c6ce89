"""What a curious server sees, and what attacks make of it."""

import pytest
import torch
from federations import record

from experiments.inversion.attack import NUM_BATCHES, decoded, inverted_updates
from experiments.inversion.decoder import class_guess, leak, reconstructed
from experiments.inversion.gradients import gradient, inverted
from experiments.inversion.seen import Seen, colluders, seen
from fedpers import assembly
from fedpers.models.mlp import mlp
from fedpers.wire import records

FEDD2S = ("strategy=fedd2s", "strategy.vote=0.0", "strategy.dropping=none", "strategy.dropping_set=[1]", "save=last")
VIEWS = {
    "knowledge": ("strategy.share=knowledge",),
    "blurred": ("strategy.share=knowledge", "strategy.knowledge_clip=1", "strategy.knowledge_noise=0.3"),
    "projected": ("strategy.share=knowledge", "strategy.projection=5", "strategy.wire=float16"),
    "class means": ("strategy.share=knowledge", "strategy.knowledge=class_means"),
    "both": ("strategy.share=both", "strategy.trunk=own"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_is_attacked_is_what_was_sent(name, federate) -> None:
    recorder, run = record(federate, *FEDD2S, *VIEWS[name], "rounds=3")
    heard = {reply.metadata.src_node_id: records.view_arrays(reply.content) for reply in recorder.replies}
    _, shards = assembly.open_run(run.config.to_json())
    assert len(heard) == shards.num_clients
    for client, node in enumerate(sorted(heard)):
        h, labels = heard[node]["representations/h"].float(), heard[node]["labels/y"]
        found = seen(run, shards, [client], all_splits=False)
        data = shards.client(client)
        assert torch.equal(found.images, data.train.inputs)
        rows = data.train.labels.unique(return_inverse=True)[1] if name == "class means" else slice(None)
        assert torch.equal(found.labels, labels[rows])
        assert torch.equal(found.h, h[rows])


def make(num: int, told: str, owner: int, stream: torch.Generator) -> Seen:
    """Return images of two classes, and of each the image itself, or noise."""
    labels = torch.arange(num) % 2
    images = torch.randn(num, 1, 4, 4, generator=stream) + labels[:, None, None, None]
    h = images.flatten(1) if told == "everything" else torch.randn(num, 16, generator=stream)
    return Seen(h, labels, images, torch.arange(num) % 5 + owner)


@pytest.mark.parametrize(
    ("told", "error", "matched"), [("everything", (0, 25), (99, 100)), ("nothing", (97, 115), (0, 8))]
)
def test_a_decoder_sees_what_there_is_to_see(told, error, matched) -> None:
    stream = torch.Generator().manual_seed(0)
    known, attacked = make(800, told, 0, stream), make(200, told, 5, stream)
    found = leak(reconstructed(known, attacked, 2, 0), attacked, class_guess(known, attacked.labels))
    assert error[0] <= found.error <= error[1]
    assert matched[0] <= found.matched <= matched[1]
    assert found.chance == pytest.approx(1)


def test_a_guess_gives_nothing_away() -> None:
    stream = torch.Generator().manual_seed(0)
    known, attacked = make(100, "nothing", 0, stream), make(20, "nothing", 5, stream)
    guess = class_guess(known, torch.where(attacked.labels == 0, 0, 7))
    assert torch.equal(guess[0], known.images[known.labels == 0].mean(0))
    assert torch.equal(guess[1], known.images.mean(0))  # nobody has told of class 7
    assert leak(guess, attacked, guess)[:2] == (100, 0)


def test_a_gradient_of_one_image_is_inverted() -> None:
    torch.manual_seed(0)
    model, image, label = mlp((1, 6, 6), 3, hidden=(20,)), torch.randn(1, 1, 6, 6), torch.tensor([2])
    update = [3 * part for part in gradient(model, image, label)]  # the learning rate need not be known
    made = inverted(model, update, label, (1, 6, 6), torch.Generator().manual_seed(0))
    assert float((made - image).square().mean() / image.square().mean()) < 0.1


def test_half_of_the_clients_collude() -> None:
    found = colluders(3, 9)
    assert len(found) == 4
    assert found == sorted(set(found)) == colluders(3, 9)
    assert found != colluders(4, 9)


def test_a_run_is_attacked_alike_twice(federate) -> None:
    run = federate(*FEDD2S, "strategy.share=knowledge", "rounds=3")
    decoded.cache_clear()
    first = decoded(run.folder)
    decoded.cache_clear()
    again = decoded(run.folder)
    assert first.leak == again.leak
    assert torch.equal(first.made, again.made)
    of_gradients = inverted_updates(run.folder, 2)
    assert of_gradients.leak.matched > first.leak.matched
    assert len(of_gradients.made) == min(6, 2 * NUM_BATCHES)
