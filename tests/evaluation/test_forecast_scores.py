"""Yardsticks of a forecast: each on the same windows as the model, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.data.processors import SeriesScaler
from zoo.data.readers import Row
from zoo.data.series.linear import LinearForecast
from zoo.evaluation.forecast import classical, scores

COLUMNS = {"target": ["load"], "past": [], "future": [], "static": []}
SCALER = SeriesScaler([2.0], [2.0], COLUMNS, ["steps", 1], 3, 4)
LAST = LinearForecast(np.zeros((4, 2)), np.zeros(2))  # a linear map that repeats the last value


def row(past, future):
    return Row({"past": np.array(past)[:, None], "future": np.array(future)[:, None]}, "here")


def test_each_yardstick_is_what_its_name_says():
    values = np.array([1.0, 2, 3, 1, 2, 3, 1, 5, 3])
    found = scores.yardsticks([row(values[:6], values[6:])], SCALER, LAST, np.arange)
    assert [*found] == ["naive", "seasonal naive (3)", "NLinear in closed form"]
    naive = [abs(3 - 1), abs(3 - 5), abs(1 - 5), abs(1 - 3)]  # two windows of two steps
    seasonal = [0, abs(2 - 5), abs(2 - 5), 0]
    assert found["naive"]["mae_units"] == pytest.approx(np.mean(naive))
    assert found["naive"]["mae"] == pytest.approx(np.mean(naive) / 2)
    assert found["seasonal naive (3)"]["mae_units"] == pytest.approx(np.mean(seasonal))
    assert found["NLinear in closed form"]["mae"] == pytest.approx(found["naive"]["mae"])


def test_windows_whose_past_lies_in_the_future_column_too_are_the_same():
    values = np.random.default_rng(0).normal(size=60)
    linear = LinearForecast(np.random.default_rng(1).normal(size=(4, 2)), np.ones(2))
    early, late = (
        scores.yardsticks([row(values[:cut], values[cut:])], SCALER, linear, chosen)
        for cut, chosen in ((10, lambda count: np.arange(40, count)), (50, np.arange))
    )
    for name in early:
        assert early[name]["mae"] == pytest.approx(late[name]["mae"])


def test_the_best_share_is_the_one_with_the_least_error():
    answer = {"origins": np.arange(2), "base": np.zeros((2, 2, 1)), "forecast": np.ones((2, 2, 1))}
    for truth, share in ((0.0, 0.0), (0.5, 0.5), (2.0, 1.0)):
        rows = [row([0.0], [truth] * 3)]
        assert scores.best_share([answer], rows, SCALER, (0.0, 0.5, 1.0), 1.0) == share
    assert scores.with_share(answer, 0.5)["forecast"].tolist() == np.full((2, 2, 1), 0.5).tolist()


def test_ets_and_theta_see_the_past_alone():
    pytest.importorskip("statsmodels")
    values = 5 + np.sin(np.arange(80) * 2 * np.pi / 3) + np.arange(80) / 10
    rows = [row(values[:60], values[60:])]
    answer = {"origins": np.arange(19), "forecast": np.zeros((19, 2, 1))}
    found, windows = classical.compare([answer], rows, SCALER)
    assert windows >= 1
    assert found["ETS"] < 0.1
    assert found["Theta"] < 0.5
    assert found["model"] > 1
