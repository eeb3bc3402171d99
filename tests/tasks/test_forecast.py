"""A forecast: what it reads, that it looks at nothing behind its origin, and its use on tables."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from conftest import fails, train
from every_task import training_batch, untrained
from forecast_cases import PLAIN, SMALL, WAVE, build, rows_of
from run_cases import interrupt_and_resume, same_weights

import zoo
from tasks.forecast import Forecast, ForecastConfig
from zoo import run
from zoo.data.corpora import open_corpus
from zoo.data.readers import Row
from zoo.data.series.windows import Windows
from zoo.errors import InputError, RowError
from zoo.evaluation.config import EvaluationConfig
from zoo.evaluation.forecast import scores
from zoo.export import program
from zoo.task import predict_dataset
from zoo.training.rows import encode_rows

TRAINING = [
    "backbone.hidden_size=8",
    "task.input=24",
    "task.horizon=6",
    "task.segment=6",
    "train.epochs=2",
    "device=cpu",
    "threads=1",
]


def table(folder, steps=260, ahead=0, name="load.csv"):
    lines = ["date,load,price,holiday"]
    for n in range(steps + ahead):
        told = f"{50 + 9 * math.sin(n / 2):.3f},{n % 5}" if n < steps else ","
        lines.append(f"2021-{1 + n // 672:02}-{1 + n // 24 % 28:02} {n % 24:02}:00,{told},{n % 7}")
    path = folder / name
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"read": "h_n"},
        {"read": "output"},
        {"read": "output", "pool": "mean"},
        {"decoding": "recursive"},
        {"channels": "mixed", "normalization": "reversible"},
        {"head": "point", "residual": "none", "normalization": "none"},
        {"head": "point", "loss": "mse"},
        {"head": "gaussian", "decoding": "recursive"},
        {"head": "student"},
        {"segment": 1},
        {"segment": 5, "horizon": 7},
        {"quantiles": (0.05, 0.25, 0.5, 0.9, 0.95)},
    ],
    ids=str,
)
def test_every_option_trains_and_answers(options):
    two = np.stack([WAVE, 3 * WAVE[::-1]], 1)
    task = build([rows_of(two)], **options).train()
    row = rows_of(two[:40], 30)
    loss = task.training_step(training_batch(task, [row])).loss
    loss.backward()
    assert math.isfinite(loss.item())
    answer = task.eval().predict([row])[0]
    assert np.shape(answer["forecast"]) == (task.config.horizon, 2)
    for values in answer.get("quantiles", {}).values():
        assert np.shape(values) == (task.config.horizon, 2)
    bands = np.array([*answer.get("quantiles", {"0.5": answer["forecast"]}).values()])
    assert (np.diff(bands, axis=0) >= 0).all()


def test_a_window_alone_is_a_window_in_company_whatever_its_length():
    task = build([rows_of(WAVE)])
    some = [WAVE[:n] for n in (1, 3, 4, 9, 12, 50)]
    together = [np.array(a["forecast"]) for a in task.predict(some)]
    for values, found in zip(some, together, strict=True):
        np.testing.assert_allclose(task.predict(values)[0]["forecast"], found, rtol=1e-5)
        np.testing.assert_allclose(task.predict(values[-12:])[0]["forecast"], found, rtol=1e-5)


def answers_of(task, row, folder):
    dataset = task.dataset_class.write([row], task.encode, folder)
    assert isinstance(dataset, Windows)
    [(_, answer)] = predict_dataset(task, dataset, EvaluationConfig())
    return answer


def test_future_values_reach_no_input_and_no_scaler(tmp_path):
    """Planted values behind an origin change no forecast from it, and those of the test no scaler."""
    task = build([rows_of(WAVE[:80])])
    clean = answers_of(task, rows_of(WAVE, 80), tmp_path / "clean")
    planted = WAVE.copy()
    planted[100:] = 1e6
    found = answers_of(task, rows_of(planted, 80), tmp_path / "planted")
    before = clean["origins"] <= 20  # origins at or before the planted values
    assert before.sum() == 21
    for name in ("forecast", "quantiles"):
        assert np.array_equal(clean[name][before], found[name][before])
    assert not np.array_equal(clean["forecast"], found["forecast"])


def test_the_processors_are_those_of_the_training_part_alone(tmp_path):
    clean = table(tmp_path)
    lines = clean.read_text().splitlines()
    for place in range(1 + int(0.7 * 260), len(lines)):  # validation and test
        date, _, price, holiday = lines[place].split(",")
        lines[place] = f"{date},1e6,{price},{holiday}"
    planted = tmp_path / "planted.csv"
    planted.write_text("\n".join(lines) + "\n")
    found = []
    for path in (clean, planted):
        splits = open_corpus({"name": "series", "path": str(path), "target": "load"})
        made = Forecast.learn(splits.train, ForecastConfig(**SMALL), PLAIN)
        found.append((made["scaler"].mean, made["scaler"].deviation, made["linear"].weight))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


def test_all_windows_are_tested_and_only_whole_ones(tmp_path):
    task = build([rows_of(WAVE)])
    answer = answers_of(task, rows_of(WAVE, 80), tmp_path / "rows")
    assert answer["origins"].tolist() == [*range(40 - 4 + 1)]
    dataset = task.dataset_class.write([rows_of(WAVE, 80)], task.encode, tmp_path / "again")
    [(_, few)] = predict_dataset(task, dataset, EvaluationConfig(origins=3))
    assert few["origins"].tolist() == [12, 24, 36]
    whole = answer["forecast"][few["origins"]]
    np.testing.assert_allclose(few["forecast"], whole, rtol=1e-5)
    alone = task.predict(WAVE[:92])[0]["forecast"]
    np.testing.assert_allclose(few["forecast"][0, :, 0], alone, rtol=1e-5)


def test_scores_are_the_textbook_ones():
    task = build([rows_of(WAVE)])
    answer = {"forecast": [1.0, 2.0, 3.0, 6.0]}
    row = Row({"past": [1.0, 3.0], "future": [1.0, 2.0, 4.0, 4.0]}, "here")
    found = scores.scores([answer], [row], task.scaler, ())
    assert found["mae_units"] == pytest.approx(3 / 4)
    assert found["mse_units"] == pytest.approx(5 / 4)
    assert found["mae"] == pytest.approx(3 / 4 / task.scaler.deviation[0])
    assert found["mase"] == pytest.approx(3 / 4 / 2)
    assert found["smape"] == pytest.approx(200 * (1 / 7 + 2 / 10) / 4)
    answer["quantiles"] = {"0.1": [0, 0, 0, 0], "0.5": [1, 2, 3, 6], "0.9": [3, 3, 3, 7]}
    found = scores.scores([answer], [row], task.scaler, (0.1, 0.5, 0.9))
    assert found["coverage"] == 0.75
    pinball = [0.1 * 11, 0.5 * 3, 0.1 * 2 + 0.1 * 1 + 0.9 * 1 + 0.1 * 3]
    assert found["wql"] == pytest.approx(2 * np.mean(pinball) / 11)


def test_what_the_lstm_adds_is_left_out_where_validation_is_better_without():
    task = build([rows_of(WAVE)])
    wanted = np.zeros((3, 4, 1))
    answer = {"origins": np.arange(3), "base": wanted.copy(), "loss": np.ones(3)}
    row = Row({"past": [0.0, 1.0], "future": [0.0] * 6}, "here")
    for added, share in ((0.5, 0.0), (0.0, 0.0)):
        made = {**answer, "forecast": wanted + added, "chooses": True}
        found = task.compute_metrics([made], [row])
        assert float(task.share) == share
        assert found["mae"] == 0
        task.share.fill_(1.0)
    row = Row({"past": [0.0, 1.0], "future": [3.0] * 6}, "here")
    task.compute_metrics([{**answer, "forecast": wanted + 4.0, "chooses": True}], [row])
    assert float(task.share) == 0.75


def test_a_constant_series_is_forecast_as_constant():
    task = build([rows_of(np.full(60, 7.5))], head="point")
    assert task.scaler.deviation.tolist() == [1.0]
    with torch.no_grad():
        task.head.weight.zero_()
        task.head.bias.zero_()
    np.testing.assert_allclose(task.predict(np.full(20, 7.5))[0]["forecast"], 7.5, rtol=1e-5)


def test_a_longer_horizon_goes_on_from_its_own_forecast():
    task = build([rows_of(WAVE)])
    found = task.predict(WAVE[:60], horizon=7)[0]
    first = task.predict(WAVE[:60])[0]["forecast"]
    then = task.predict(np.concatenate([WAVE[:60], first]))[0]["forecast"]
    np.testing.assert_allclose(found["forecast"], [*first, *then][:7], rtol=1e-5)
    assert {len(values) for values in found["quantiles"].values()} == {7}
    assert len(task.predict(WAVE[:60], horizon=2)[0]["forecast"]) == 2
    with pytest.raises(InputError, match="horizon=0"):
        task.predict(WAVE, horizon=0)


def test_wrong_inputs_are_named():
    task = build([rows_of(WAVE)])
    with pytest.raises(RowError, match="past: 2 columns, the model knows 1"):
        task.predict({"past": [[1, 2], [3, 4]]})
    with pytest.raises(RowError, match="past: value 2 is no finite number"):
        task.predict([1.0, math.nan, 3.0])
    with pytest.raises(RowError, match="is no list of numbers"):
        task.predict("one two")
    for nothing in ([], None, np.empty((0, 1)), {"past": []}):
        with pytest.raises(RowError, match="input 1: no past value: a forecast needs one at least"):
            task.predict(nothing)
    with pytest.raises(RowError, match="input 2: no past value"):
        task.predict([[1.0, 2.0], []])
    with pytest.raises(RowError, match="past: its largest value is out of the range of float32"):
        task.predict([1e300] * 20)
    with pytest.raises(ValueError, match=r"task\.quantiles: Input should rise, with 0\.5"):
        build([rows_of(WAVE)], quantiles=(0.9, 0.5))


def test_static_and_known_covariates_reach_the_forecast():
    values = np.stack([WAVE, np.arange(120) % 3], 1)
    columns = {"target": ["load"], "past": [], "future": ["holiday"], "static": ["size"]}
    rows = [rows_of(values, columns=columns, static=[k]) for k in (1.0, 3.0)]
    task = build(rows)

    def ask(ahead, static):
        asked = {"past": values[:50], "static": [static]}
        asked["future"] = np.stack([np.full(len(ahead), np.nan), ahead], 1)
        return np.array(task.predict(asked)[0]["forecast"])

    base = ask([0, 1, 2, 0], 1.0)
    assert not np.array_equal(base, ask([2, 1, 2, 0], 1.0))
    assert not np.array_equal(base, ask([0, 1, 2, 0], 3.0))
    with pytest.raises(RowError, match="'holiday' ends too early: 2 steps ahead, 4 are needed"):
        ask([0, 1], 1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table and a model that the command line trained on it."""
    folder = tmp_path_factory.mktemp("forecast")
    data = [
        "data=series",
        f"data.path={table(folder)}",
        "data.target=load",
        "data.future=[holiday]",
    ]
    words = ["task=forecast", *data, *TRAINING, f"out={folder / 'run'}"]
    assert run.main(words) == 0
    return folder


def test_a_run_writes_pictures_yardsticks_and_a_card(folder):
    report = json.loads((folder / "run" / "report.json").read_text())
    assert report["reads"] == "h_n, c_n"
    assert report["baseline"]["method"] == "NLinear in closed form"
    assert {"mae", "mse", "mase", "smape", "wql", "coverage"} <= {*report["test"]}
    assert len(report["by_horizon"]["LSTM"]) == 6
    for name in ("forecast.png", "error_by_horizon.png"):
        assert (folder / "run" / name).stat().st_size > 5000
    assert "h_n, c_n" in (folder / "run" / "README.md").read_text()


def test_a_table_goes_on_in_time(folder, capsys):
    asked = table(folder, 100, 6, "asked.csv")
    words = ["mode=predict", f"model={folder / 'run'}", f"input={asked}"]
    assert run.main([*words, f"output={folder / 'future.csv'}"]) == 0
    with open(folder / "future.csv", encoding="utf-8") as file:
        found = [*csv.DictReader(file)]
    assert [*found[0]] == ["date", "load", "load_0.1", "load_0.5", "load_0.9"]
    assert [row["date"] for row in found][:2] == ["2021-01-05 04:00:00", "2021-01-05 05:00:00"]
    assert len(found) == 6
    short = table(folder, 100, 3, "short.csv")
    said = fails(capsys, *words[:2], f"input={short}")
    assert said.endswith("future covariate 'holiday' ends too early: 3 steps ahead, 6 are needed")


def test_a_frame_is_a_table(folder):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(table(folder, 100, 6, "frame.csv"))
    frame["date"] = pandas.to_datetime(frame["date"])
    model = zoo.load(folder / "run")
    [one] = model.predict(frame)
    [other] = model.predict(frame.set_index("date"))
    assert one == other
    assert one["times"][0] == "2021-01-05 04:00:00"


def test_it_is_measured_at_rolling_origins(folder, capsys):
    words = ["mode=evaluate", f"model={folder / 'run'}", "evaluate.origins=5", "precision=fp32"]
    assert run.main(words) == 0
    assert "NLinear" in capsys.readouterr().out
    said = fails(capsys, "mode=train", "evaluate.origins=5", "task=classify")
    assert said == "evaluate.origins=…: classify forecasts nothing: leave it out"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task.horizon=0"], "task.horizon=0: Input should be greater than or equal to 1"),
        (
            ["task.input=200", "task.residual=none"],
            "shorter than input + horizon, 200 + 6 steps: lower task.input or task.horizon",
        ),
        (
            ["task.input=200"],
            "no training series is as long as input + horizon, 200 + 6 steps: lower task.input or "
            "task.horizon",
        ),
    ],
)
def test_settings_that_do_not_fit_are_one_line(folder, capsys, words, said):
    data = ["data=series", f"data.path={folder / 'load.csv'}", f"out={folder / 'new'}"]
    found = fails(capsys, "task=forecast", *data, *TRAINING, *words)
    assert found.endswith(said)
    assert not (folder / "new").exists()


def test_series_that_are_too_short_are_named_and_counted(tmp_path, caplog):
    lines = ["shop,day,sales"]
    for shop, days in (("a", 28), ("b", 28), ("c", 9)):
        lines += [f"{shop},2021-01-{day:02},{day % 7}" for day in range(29 - days, 29)]
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(lines))
    splits = open_corpus({"name": "series", "path": str(path), "series": "shop"})
    task = build(splits.train, input=6, horizon=2, segment=2)
    with caplog.at_level("INFO", "zoo"):
        dataset = encode_rows(task, splits.train, tmp_path / "rows")
    assert "1 series shorter than 6 + 2 steps are skipped" in caplog.text
    assert "(c)" in caplog.text
    assert dataset.counts.tolist() == [13, 13, 0]


def test_the_toy_rows_are_rows_of_one_window(tmp_path):
    task = untrained("forecast")
    assert task.scaler.targets == 1
    assert isinstance(task, Forecast)


def test_a_seed_gives_its_bits_again_after_an_interruption_too(tmp_path, monkeypatch):
    words = ["train.epochs=2", "train.batch_tokens=512"]
    train(tmp_path / "whole", *words, task="forecast")
    interrupt_and_resume(monkeypatch, tmp_path / "run", *words, task="forecast", at=9)
    assert same_weights(tmp_path / "run", tmp_path / "whole")


def test_it_is_exported_as_a_whole(tmp_path):
    task = build([rows_of(WAVE)])
    assert program.save(task, tmp_path / "model.pt2") < 1e-5
    assert program.save(task, tmp_path / "model.onnx") < 1e-5
