"""FedD2S' client: what it tells of its samples, clipped, noisy and averaged, and how far it drifts, by hand."""

import pytest
import torch
from fedd2s_toys import make
from toys import make_task, three_parameters

from strategies.fedd2s.client import CUT, add_noise, class_means, clip_rows, soft_labels
from strategies.parts.exchange import SENT, SOFT_LABELS


def test_class_means_by_hand() -> None:
    h, p = torch.tensor([[1.0, 0.0], [5.0, 5.0], [3.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.2, 0.8], [0.5, 0.5]])
    means = class_means(h, p, torch.tensor([4, 7, 4]))
    assert means[0].tolist() == [[2.0, 1.0], [5.0, 5.0]]
    torch.testing.assert_close(means[1], torch.tensor([[0.75, 0.25], [0.2, 0.8]]))
    assert means[2].tolist() == [4, 7]
    assert means[3].tolist() == [2, 1]


def test_class_mean_of_one_sample_is_the_sample() -> None:
    h, p = torch.rand(3, 5), torch.rand(3, 10).softmax(1)
    means = class_means(h, p, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(means[0], h, rtol=0, atol=0)
    torch.testing.assert_close(means[1], p, rtol=0, atol=0)


def test_clipping_by_hand() -> None:
    h = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(clip_rows(h, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
    assert clip_rows(h, None) is h


def test_noise_has_its_scale_and_soft_labels_stay_distributions() -> None:
    h, p = torch.zeros(2000, 5), torch.full((2000, 4), 0.25)
    noisy_h, noisy_p = add_noise(h, p, 0.5, torch.Generator().manual_seed(0))
    assert float(noisy_h.std()) == pytest.approx(0.5, rel=0.03)
    assert abs(float(noisy_h.mean())) < 0.02
    torch.testing.assert_close(noisy_p.sum(1), torch.ones(2000))
    assert float(noisy_p.min()) > 0
    assert add_noise(h, p, 0.0, torch.Generator()) == (h, p)


def test_class_means_give_each_sample_the_row_of_its_class() -> None:
    rows = torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.7, 0.3]])  # classes 2, 5, 7
    means, samples = make(knowledge="class_means"), make(knowledge="samples")

    def given(q: torch.Tensor) -> torch.Tensor:
        task = make_task(three_parameters(), means, [[1.0]] * 4, [7, 2, 7, 5], received={SOFT_LABELS: q})
        found = soft_labels(means if len(q) == 3 else samples, task)
        assert found is not None
        return found

    assert given(rows).tolist() == rows[[2, 0, 2, 1]].tolist()
    each = torch.rand(4, 2)
    assert torch.equal(given(each), each)
    assert given(each.half()).dtype == torch.float32
    assert soft_labels(samples, make_task(three_parameters(), samples, [[1.0]], [0])) is None


def test_train_returns_knowledge_and_keeps_the_model() -> None:
    client = make(clip_norm=None)
    model = three_parameters()
    task = make_task(model, client, [[1.0]], [0], received={CUT: torch.tensor(1)})
    update = client.train(task)
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([0.5, -0.5])  # as Local, by hand there
    assert update.send["representations/h"].tolist() == [[1.0]]
    expected = torch.tensor([[0.5, -0.5]]).div(client.temperature).softmax(1)
    torch.testing.assert_close(update.send["soft_labels/p"], expected)
    assert update.send["labels/y"].tolist() == [0]


def sent(**changes: object) -> tuple[torch.Tensor, ...]:
    client = make(**changes)
    update = client.train(
        make_task(three_parameters(), client, [[1.0], [3.0]], [0, 1], received={CUT: torch.tensor(1)})
    )
    return (*(update.send[key] for key in SENT), update.keep["head.weight"])


def test_float16_and_noise_change_what_is_promised_and_nothing_else() -> None:
    plain, half, noisy, clipped = (
        sent(),
        sent(wire="float16"),
        sent(knowledge_noise=0.1),
        sent(knowledge_clip=2.0),
    )
    assert half[0].dtype == half[1].dtype == torch.float16
    torch.testing.assert_close(half[0].float(), plain[0], rtol=1e-3, atol=1e-3)
    assert not torch.equal(noisy[0], plain[0])
    assert not torch.equal(noisy[1], plain[1])
    assert sorted(clipped[0].flatten().tolist()) == [1.0, 2.0]
    for other in (half, noisy, clipped):
        assert torch.equal(other[2], plain[2])
        assert torch.equal(other[3], plain[3])
        assert torch.equal(other[4], plain[4])  # the client's own model


def test_drift_by_hand() -> None:
    # one step moves the head from (1, 0) by the gradient of CE at logits (1, 0): see the numbers below
    client = make(clip_norm=None)
    task = make_task(three_parameters(1.0, (1.0, 0.0)), client, [[1.0]], [0], received={CUT: torch.tensor(1)})
    metrics = client.train(task).metrics
    p1 = 1 / (1 + torch.e**1)  # probability of the wrong class; the head moves by (p1, -p1)
    assert metrics["drift/head"] == pytest.approx(2**0.5 * p1)
    assert metrics["drift/base"] == pytest.approx(p1)  # dCE/dscale = p1 * (0 - 1), against |scale| = 1
