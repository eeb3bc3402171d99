"""R-Drop: the divergence of two passes, and its place in the loss of each task."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn import functional as F

from zoo.nn.losses.r_drop import binary_divergence, divergence, r_drop_loss


def two(rows=7, classes=5):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(rows, classes, generator=generator, dtype=torch.float64) for _ in range(2)]


def test_the_divergence_is_the_mean_of_both_directions():
    first, second = two()
    p, q = Categorical(logits=first), Categorical(logits=second)
    wanted = (kl_divergence(p, q) + kl_divergence(q, p)).mean() / 2
    torch.testing.assert_close(divergence(first, second), wanted)
    torch.testing.assert_close(divergence(first + 3, second - 2), wanted)  # logits may be shifted
    assert float(divergence(first, first)) == 0


def test_of_independent_labels_it_is_that_of_bernoulli_distributions():
    first, second = two()
    p, q = Bernoulli(logits=first), Bernoulli(logits=second)
    wanted = (kl_divergence(p, q) + kl_divergence(q, p)).mean() / 2
    torch.testing.assert_close(binary_divergence(first, second), wanted)
    assert float(binary_divergence(first, first)) == 0


@pytest.mark.parametrize("between", [divergence, binary_divergence])
def test_without_rows_it_is_zero_and_extreme_logits_are_finite(between):
    nothing = torch.zeros(0, 5)
    assert float(between(nothing, nothing)) == 0
    far = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    found = between(far, -far)
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(far.grad).all()


def test_the_loss_is_the_mean_of_both_passes_and_half_the_weight_of_their_divergence():
    target = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    passes = two()

    def loss(logits):
        return F.cross_entropy(logits, target, label_smoothing=0.1)

    left = iter(passes)
    found = r_drop_loss(lambda: next(left), loss, 3.0)
    assert not [*left]  # two passes
    # Liang et al. 2021: the sum of both losses plus alpha / 2 times both KL, here half of all.
    paper = loss(passes[0]) + loss(passes[1]) + 3.0 * divergence(*passes)
    torch.testing.assert_close(found, paper / 2)
    assert r_drop_loss(lambda: passes[0], loss, 0.0) == loss(passes[0])  # one pass
