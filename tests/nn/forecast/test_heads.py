"""Heads of a forecast: their losses and quantiles are those of textbooks and of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Normal, StudentT
from torch.nn import functional as F

from zoo.nn.forecast.heads import LEAST_FREEDOM, LEAST_SCALE, Gaussian, Point, Quantiles, Student

NUMBERS = torch.linspace(-2, 2, 60).view(4, 5, 3)
TARGET = torch.linspace(-1, 1, 20).view(4, 5)


def test_a_point_has_its_error():
    error = NUMBERS[..., 0] - TARGET
    assert torch.equal(Point("mae").loss(NUMBERS, TARGET), error.abs())
    assert torch.equal(Point("mse").loss(NUMBERS, TARGET), error**2)


def test_quantiles_never_cross_and_have_the_pinball_loss():
    head = Quantiles((0.1, 0.5, 0.9))
    found = head.quantiles(5 * torch.randn(100, 3), (0.1, 0.5, 0.9))
    assert (found.diff(dim=-1) >= 0).all()
    every = head.quantiles(NUMBERS, (0.1, 0.5, 0.9))
    assert torch.equal(every[..., 1], NUMBERS[..., 0])
    from sklearn.metrics import mean_pinball_loss

    wanted = np.mean(
        [
            mean_pinball_loss(TARGET.flatten(), every[..., n].flatten(), alpha=level)
            for n, level in enumerate((0.1, 0.5, 0.9))
        ]
    )
    assert head.loss(NUMBERS, TARGET).mean().item() == pytest.approx(2 * wanted, rel=1e-5)


def test_quantiles_need_the_median_and_their_order():
    for wrong in ((0.1, 0.9), (0.9, 0.5), ()):
        with pytest.raises(ValueError, match=r"rise, with 0\.5"):
            Quantiles(wrong)


def test_distributions_are_those_of_torch():
    scale = F.softplus(NUMBERS[..., 1]) + LEAST_SCALE
    normal = Normal(NUMBERS[..., 0], scale)
    torch.testing.assert_close(Gaussian().loss(NUMBERS, TARGET), -normal.log_prob(TARGET))
    found = Gaussian().quantiles(NUMBERS[..., :2], (0.1, 0.5, 0.9))
    for place, level in enumerate((0.1, 0.5, 0.9)):
        torch.testing.assert_close(found[..., place], normal.icdf(torch.tensor(level)))
    freedom = F.softplus(NUMBERS[..., 2]) + LEAST_FREEDOM
    student = StudentT(freedom, NUMBERS[..., 0], scale)
    torch.testing.assert_close(Student().loss(NUMBERS, TARGET), -student.log_prob(TARGET))
    found = Student().quantiles(NUMBERS, (0.1, 0.5))
    from scipy.stats import t

    wanted = t.ppf(0.1, freedom.numpy(), NUMBERS[..., 0].numpy(), scale.numpy())
    np.testing.assert_allclose(found[..., 0].numpy(), wanted, rtol=1e-4)
    torch.testing.assert_close(found[..., 1], NUMBERS[..., 0])
