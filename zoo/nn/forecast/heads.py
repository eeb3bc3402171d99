"""Heads of a forecast: what the numbers of the last layer mean, and their loss.

point      the value itself                   mean absolute or squared error
quantiles  the median, and steps from it      pinball loss
gaussian   mean and standard deviation        negative log-likelihood
student    location, scale, degrees of freedom
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_SCALE = 1e-3
LEAST_FREEDOM = 2.0

HeadKind = Literal["point", "quantiles", "gaussian", "student"]
LossKind = Literal["mae", "mse"]


class ForecastHead(Protocol):
    """Numbers (…, outputs) of each future value, with the first one at its centre."""

    outputs: int

    def loss(self, numbers: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each value, (…)."""

    def quantiles(self, numbers: Tensor, levels: Sequence[float]) -> Tensor:
        """Return quantiles (…, levels)."""


class Point:
    """A value. Its only quantile is the value itself."""

    outputs = 1

    def __init__(self, kind: LossKind) -> None:
        self.kind = kind

    def loss(self, numbers: Tensor, target: Tensor) -> Tensor:
        """Return absolute or squared errors."""
        difference = numbers[..., 0] - target
        return difference.abs() if self.kind == "mae" else difference.square()

    def quantiles(self, numbers: Tensor, levels: Sequence[float]) -> Tensor:
        """Return the value for each level."""
        return numbers[..., :1].expand(*numbers.shape[:-1], len(levels))


class Quantiles:
    """The median, and the distances between neighbouring quantiles, so that these never cross."""

    def __init__(self, levels: Sequence[float]) -> None:
        """Raises ValueError unless the levels rise and 0.5 is among them."""
        if [*levels] != sorted({*levels}) or 0.5 not in levels:
            raise ValueError("task.quantiles: Input should rise, with 0.5 among them")
        self.levels = [*levels]
        self.middle = self.levels.index(0.5)
        self.outputs = len(self.levels)

    def _all(self, numbers: Tensor) -> Tensor:
        """Return all quantiles (…, levels) of numbers (…, outputs)."""
        median = numbers[..., :1]
        steps = F.softplus(numbers[..., 1:])
        below, above = steps[..., : self.middle], steps[..., self.middle :]
        low = median - below.flip(-1).cumsum(-1).flip(-1)
        return torch.cat([low, median, median + above.cumsum(-1)], -1)

    def loss(self, numbers: Tensor, target: Tensor) -> Tensor:
        """Return the pinball loss, twice its mean over the levels: for the median alone, the error."""
        levels = torch.tensor(self.levels, device=numbers.device, dtype=numbers.dtype)
        difference = target.unsqueeze(-1) - self._all(numbers)
        return 2 * torch.maximum(levels * difference, (levels - 1) * difference).mean(-1)

    def quantiles(self, numbers: Tensor, levels: Sequence[float]) -> Tensor:
        """Return the quantiles of the levels. Raises ValueError for one that is not learned."""
        every = self._all(numbers)
        return torch.stack([every[..., self.levels.index(level)] for level in levels], -1)


class Gaussian:
    """A normal distribution."""

    outputs = 2

    def loss(self, numbers: Tensor, target: Tensor) -> Tensor:
        """Return negative log-likelihoods in nats."""
        scale = F.softplus(numbers[..., 1]) + LEAST_SCALE
        return (
            ((target - numbers[..., 0]) / scale).square() / 2
            + scale.log()
            + math.log(2 * math.pi) / 2
        )

    def quantiles(self, numbers: Tensor, levels: Sequence[float]) -> Tensor:
        """Return the quantiles of the levels."""
        scale = F.softplus(numbers[..., 1:]) + LEAST_SCALE
        z = torch.special.ndtri(torch.tensor([*levels], dtype=torch.float64)).to(numbers)
        return numbers[..., :1] + scale * z


class Student:
    """A Student distribution, whose tails are heavier than those of a normal one."""

    outputs = 3

    def loss(self, numbers: Tensor, target: Tensor) -> Tensor:
        """Return negative log-likelihoods in nats."""
        location, scale, freedom = self._parts(numbers)
        z = (target - location) / scale
        constant = torch.lgamma(freedom / 2) - torch.lgamma((freedom + 1) / 2)
        constant = constant + 0.5 * (freedom * math.pi).log() + scale.log()
        return constant + (freedom + 1) / 2 * torch.log1p(z.square() / freedom)

    def quantiles(self, numbers: Tensor, levels: Sequence[float]) -> Tensor:
        """Return the quantiles of the levels."""
        from scipy.stats import t

        location, scale, freedom = self._parts(numbers)
        z = t.ppf(np.array(levels), freedom.detach().cpu().double().numpy()[..., None])
        z = torch.from_numpy(z).to(numbers)
        return location.unsqueeze(-1) + scale.unsqueeze(-1) * z

    @staticmethod
    def _parts(numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scale = F.softplus(numbers[..., 1]) + LEAST_SCALE
        return numbers[..., 0], scale, F.softplus(numbers[..., 2]) + LEAST_FREEDOM


def head_of(kind: HeadKind, levels: Sequence[float], loss: LossKind) -> ForecastHead:
    """Return the head of a kind. Raises ValueError for levels that are none."""
    quantiles = Quantiles(levels)
    others: dict[str, ForecastHead] = {
        "point": Point(loss),
        "gaussian": Gaussian(),
        "student": Student(),
    }
    return others.get(kind, quantiles)
