"""What clients know and send: distilled, pooled, averaged, clipped, noisy, projected, by hand."""

import pytest
import torch
from by_hand import LOG2, LOG3

from strategies.parts.exchange import add_noise, class_means, clip_rows, distill, projection_matrix, represent


def test_temperature_by_hand() -> None:
    # logits (0, 2 ln 3), T = 2: softened (1/4, 3/4); target (1/2, 1/2):
    # KL = 1/2 ln(2) + 1/2 ln(2/3) = ln 2 - 1/2 ln 3, times T² = 4
    loss = distill(torch.tensor([[0.0, 2 * LOG3]]), torch.tensor([[0.5, 0.5]]), 2.0)
    assert loss.tolist() == pytest.approx([4 * (LOG2 - 0.5 * LOG3)])


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


def test_representation_is_pooled_to_at_most() -> None:
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert represent(maps, 2).tolist() == [[2.5, 4.5, 10.5, 12.5]]  # means of the four quarters
    assert represent(maps, 4).tolist() == [list(range(16))]
    assert represent(torch.ones(2, 3), 2).shape == (2, 3)


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


def test_projection_is_fixed_and_keeps_lengths_in_expectation() -> None:
    matrix = projection_matrix(400, 100, 7)
    assert matrix.shape == (400, 100)
    assert projection_matrix(400, 100, 7) is matrix
    assert not torch.equal(projection_matrix(400, 100, 8), matrix)
    h = torch.randn(50, 400, generator=torch.Generator().manual_seed(0))
    assert float(((h @ matrix).norm(dim=1) / h.norm(dim=1)).mean()) == pytest.approx(1, abs=0.03)
