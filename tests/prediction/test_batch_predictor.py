"""Batches of rows come back with the columns that mode=predict writes, from a callable that travels."""

from __future__ import annotations

import pickle

import numpy as np
import pandas
import pyarrow
import pytest
from conftest import lines, write

import zoo
from zoo import run
from zoo.errors import InputError, RowError
from zoo.prediction import batch_predictor as module

TEXTS = ["Gulls follow the trawler home.", "", "Snow lay on the summit ridge.", "The tide"]
TABLE = {"id": [3, 1, 2, 5], "review": TEXTS, "label": ["a", "b", "c", "d"]}
ADDED = ["predicted_label", "probability"]


@pytest.fixture
def predictor(trained, monkeypatch):
    monkeypatch.chdir(trained.parent)  # a name beside this process is none on another machine
    made = zoo.batch_predictor(trained.name, {"text": "review"}, device="cpu", precision="fp32")
    monkeypatch.chdir("/")
    return made


@pytest.fixture
def wanted(trained, tmp_path):
    """The columns that mode=predict writes for the same rows."""
    rows = [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]
    words = [f"input={write(tmp_path / 'rows.jsonl', rows)}", f"output={tmp_path / 'out.jsonl'}"]
    asked = ["predict", f"model={trained}", "data.text=review", "device=cpu", "precision=fp32"]
    assert run.main([*asked, *words]) == 0
    found = lines(tmp_path / "out.jsonl")
    assert [*found[0]] == [*TABLE, *ADDED]
    return {name: [row[name] for row in found] for name in found[0]}


def test_every_kind_of_batch_gets_the_columns_of_mode_predict(predictor, wanted):
    assert predictor(TABLE) == wanted
    frame = predictor(pandas.DataFrame(TABLE))
    assert frame.astype(object).where(frame.notna(), None).to_dict("list") == wanted
    assert frame["probability"].dtype == float
    arrow = predictor(pyarrow.table(TABLE))
    assert arrow.to_pydict() == wanted
    arrays = predictor({name: np.array(values) for name, values in TABLE.items()})
    assert all(isinstance(values, np.ndarray) for values in arrays.values())
    assert arrays["predicted_label"].tolist() == wanted["predicted_label"]
    assert np.isnan(arrays["probability"]).tolist() == [False, True, False, False]
    several = predictor(iter([pandas.DataFrame(TABLE)] * 2))  # Spark's mapInPandas
    assert all(one.equals(frame) for one in several)
    nothing = predictor(pyarrow.table({name: [values[1]] for name, values in TABLE.items()}))
    assert nothing.schema == arrow.schema
    assert nothing.to_pydict() == {name: [values[1]] for name, values in wanted.items()}


def test_it_is_sent_without_the_model_which_each_process_loads_once(predictor, monkeypatch):
    loads: list[str] = []
    load = module.load
    module._load.cache_clear()
    monkeypatch.setattr(module, "load", lambda *given: loads.append(given[0]) or load(*given))
    found = predictor(TABLE)
    sent = pickle.dumps(predictor)
    assert len(sent) < 2000
    assert pickle.loads(sent)(TABLE) == found
    assert len(loads) == 1


def test_what_cannot_be_answered_is_one_line(trained, predictor):
    with pytest.raises(RowError, match=r"^batch\[0\]: no column 'review', there are: id; set "):
        predictor({"id": [1]})
    with pytest.raises(RowError, match=r"^batch\[1\]: column 'review' is null: fill it, or "):
        predictor({"review": ["x", None]})
    with pytest.raises(InputError, match=r"^batch: is list: a dict of columns, a frame of pandas"):
        predictor(["a text"])
    with pytest.raises(InputError, match=r"^nowhere: neither a model folder nor a shipped model"):
        zoo.batch_predictor("nowhere")


def test_ray_answers_in_two_workers(predictor, wanted):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        rows = ray.data.from_items(
            [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]
        )
        answered = rows.repartition(2).map_batches(predictor, batch_format="pyarrow")
        found = answered.take_all()
    finally:
        ray.shutdown()
    by_id = {row["id"]: row for row in found}
    for place, number in enumerate(TABLE["id"]):
        assert by_id[number] == {name: values[place] for name, values in wanted.items()}


def test_a_batch_that_was_answered_before_keeps_its_answers(predictor):
    again = predictor(predictor(TABLE))
    assert [*again] == [*TABLE, *ADDED, "predicted_2_label", "predicted_probability"]
    assert again["predicted_2_label"] == again["predicted_label"]
    one = {name: [values[1]] for name, values in again.items() if name not in TABLE}
    empty = predictor(predictor(pyarrow.table({"review": [""], "label": [""]})))
    assert one["predicted_2_label"] == [None]
    assert empty.schema.field("predicted_2_label").type == pyarrow.string()
    assert empty.schema.field("predicted_probability").type == pyarrow.float64()
