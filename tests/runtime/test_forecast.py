"""Exported forecasts are those of the model: values, quantiles and times, without torch."""

from __future__ import annotations

import json

import numpy as np
import pytest
from forecast_cases import WAVE, build, rows_of
from runtime_cases import without_torch

import zoo.runtime
from zoo.errors import InputError
from zoo.export import whole

COLUMNS = {"target": ["load", "heat"], "past": ["wind"], "future": ["holiday"], "static": ["size"]}


def same(found, wanted):
    """Whether two answers have the same keys and the same numbers, up to rounding."""
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        if isinstance(value, dict):
            same(found[key], value)
        elif key in ("times", "series"):
            assert found[key] == value
        else:
            assert np.allclose(found[key], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"read": "h_n", "head": "point"},
        {"read": "output", "pool": "mean", "normalization": "reversible"},
        {"read": "output", "residual": "none", "channels": "mixed"},
        {"decoding": "recursive", "segment": 5, "horizon": 7, "channels": "mixed"},
        {"head": "gaussian", "decoding": "recursive"},
        {"quantiles": (0.05, 0.25, 0.5, 0.9, 0.95), "segment": 1},
    ],
    ids=str,
)
def test_forecasts_of_all_columns_are_those_of_the_model(tmp_path, options):
    steps = np.arange(120)
    values = np.stack([WAVE, 3 * WAVE[::-1], steps % 7, steps % 3], 1)
    rows = [rows_of(values, columns=COLUMNS, static=[k]) for k in (1.0, 3.0)]
    task = build(rows, **options)
    horizon = task.config.horizon
    whole.save(task, tmp_path / "out")
    model = zoo.runtime.load(tmp_path / "out")
    for past, size in ((40, 1.0), (2, 3.0)):
        asked = {"past": values[:past], "future": values[past : past + horizon], "static": [size]}
        same(model.predict(asked)[0], task.predict(asked)[0])


@pytest.mark.parametrize("form", ["fp32", "int8"])
def test_a_series_of_its_own_goes_on_beyond_the_horizon_without_torch(tmp_path, form):
    task = build(
        [rows_of(WAVE, columns={**COLUMNS, **NONE}, frequency=["microseconds", 3_600_000_000])]
    )
    whole.save(task, tmp_path / "out", form)
    asked = {"past": WAVE[:30].tolist(), "time": "2021-03-01 00:00", "series": "north"}
    code = f"""
import json
import zoo.runtime
model = zoo.runtime.load({str(tmp_path / "out")!r})
print(json.dumps(model.predict({asked!r}, horizon=9)))
assert "torch" not in sys.modules
"""
    (found,), (wanted,) = json.loads(without_torch(code)), task.predict(asked, horizon=9)
    if form == "fp32":
        same(found, wanted)
    assert np.allclose(found["forecast"], wanted["forecast"], atol=0.2)
    assert len(found["forecast"]) == 9
    assert found["times"][0] == "2021-03-02 06:00:00"
    model = zoo.runtime.load(tmp_path / "out")
    assert len(model.predict([WAVE[:30], WAVE[:8]])) == 2
    with pytest.raises(InputError, match="horizon=0"):
        model.predict(WAVE, horizon=0)
    with pytest.raises(InputError, match="time: 'soon' is no date, such as 2016-07-01 13:00"):
        model.predict({**asked, "time": "soon"})


NONE = {"target": ["load"], "past": [], "future": [], "static": [], "time": "date"}


def test_what_needs_other_packages_is_refused_in_one_line(tmp_path):
    task = build([rows_of(WAVE)], head="student")
    with pytest.raises(
        InputError, match=r"^head=student cannot be exported: .*head=quantiles can$"
    ):
        whole.save(task, tmp_path / "out")
    assert not [*tmp_path.iterdir()]
