"""Closed-form forecasts: the season, the ridge regression, and the naive ones."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.data.series import linear
from zoo.data.series.linear import LinearForecast, season, seasonal_naive
from zoo.errors import InputError

STEPS = np.arange(400)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.sin(2 * np.pi * STEPS / 7) + 0.1 * STEPS, 7),
        (np.sin(2 * np.pi * STEPS / 24) + 0.001 * (STEPS - 100.0) ** 2, 24),
        (STEPS % 12, 12),
        (STEPS * 1.0, 1),
        (np.ones(100), 1),
        (np.random.default_rng(0).normal(size=400), 1),
        (np.random.default_rng(1).normal(size=400).cumsum(), 1),
        (np.arange(3), 1),
    ],
)
def test_the_season_is_found_beside_a_trend_and_not_where_there_is_none(values, found):
    assert season(values) == found


def windows(count, generator):
    past = generator.normal(size=(count, 6)).cumsum(1)
    last = past[:, -1:]
    return past, (past - last) @ np.arange(12).reshape(6, 2) / 10 + last + [0.5, -0.5]


def test_a_linear_map_of_what_differs_from_the_last_value_is_found():
    generator = np.random.default_rng(0)
    made = LinearForecast.learn([windows(200, generator) for _ in range(5)])
    past, future = windows(50, generator)
    np.testing.assert_allclose(made.encode(past), future, atol=1e-2)


def test_the_ridge_is_chosen_on_the_latest_windows():
    generator = np.random.default_rng(0)
    noise = [(generator.normal(size=(20, 15)), generator.normal(size=(20, 2))) for _ in range(2)]
    of_noise = LinearForecast.learn(noise)
    past = generator.normal(size=(500, 15))
    error = np.square(of_noise.encode(past) - past[:, -1:]).mean()
    assert error < 2.5  # 15 weights from 20 windows would be far off without a ridge


def test_it_is_kept_exactly_in_a_file(tmp_path):
    made = LinearForecast.learn([windows(200, np.random.default_rng(0))])
    made.save(tmp_path / "linear.npz")
    again = LinearForecast.load(tmp_path / "linear.npz")
    assert np.array_equal(made.weight, again.weight)
    assert np.array_equal(made.bias, again.bias)
    (tmp_path / "linear.npz").write_bytes(b"no")
    with pytest.raises(InputError, match=r"linear\.npz: "):
        LinearForecast.load(tmp_path / "linear.npz")
    with pytest.raises(ValueError, match="weight: Input should be"):
        LinearForecast(np.zeros((3, 2)), np.zeros(3))
    with pytest.raises(InputError, match="no window"):
        LinearForecast.learn([])


def test_the_seasonal_naive_forecast_repeats_the_last_season():
    past = np.array([[1.0, 2, 3, 4, 5, 6]])
    assert seasonal_naive(past, 5, 3).tolist() == [[4, 5, 6, 4, 5]]
    assert seasonal_naive(past, 2, 1).tolist() == [[6, 6]]
    assert linear.seasonal_naive(past[:, -2:], 3, 4).tolist() == [[5, 6, 5]]
