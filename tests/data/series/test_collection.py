"""Tables of time series: every fault is named with its line; what is asked for is mended and said."""

from __future__ import annotations

import json
import logging
from datetime import date, timedelta

import numpy as np
import pytest

from zoo.data.corpora import open_corpus
from zoo.errors import InputError

SETTINGS = {"name": "series", "split": [0.5, 0.25, 0.25]}


def table(folder, text, name="load.csv"):
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def hours(values, header="date,load", start=0):
    stamps = [
        f"2020-01-{1 + h // 24:02} {h % 24:02}:00:00" for h in range(start, start + len(values))
    ]
    return "\n".join([header, *(f"{s},{v}" for s, v in zip(stamps, values, strict=True))]) + "\n"


def rows(path, **settings):
    return [[*part] for part in _splits(path, **settings)]


def _splits(path, **settings):
    splits = open_corpus({**SETTINGS, "path": str(path), **settings})
    return splits.train, splits.valid, splits.test


def fails(path, **settings) -> str:
    with pytest.raises(InputError) as caught:
        rows(path, **settings)
    return str(caught.value).replace(str(path), "FILE")


def test_a_wide_table_is_one_row_a_split_cut_by_time(tmp_path):
    path = table(tmp_path, hours([f"{n},{-n}" for n in range(8)], "date,load,price"))
    train, valid, test = rows(path)
    assert [len(train), len(valid), len(test)] == [1, 1, 1]
    assert (len(train[0]["past"]), len(train[0]["future"])) == (0, 4)
    assert (len(test[0]["past"]), len(test[0]["future"])) == (6, 2)
    assert np.asarray(test[0]["future"]).tolist() == [[6, -6], [7, -7]]
    assert np.asarray(valid[0]["past"]).tolist() == [[n, -n] for n in range(4)]
    assert train[0]["columns"]["target"] == ["load", "price"]
    assert train[0]["frequency"] == ["microseconds", 3_600_000_000]


def test_a_long_table_is_a_row_for_each_series_however_its_rows_lie(tmp_path):
    lines = ["shop,day,sales"]
    for day in range(1, 9):
        lines += [f"{shop},2020-03-{day:02},{10 * k + day}" for k, shop in enumerate("ab")]
    mixed = table(tmp_path, "\n".join(lines))
    apart = table(tmp_path, "\n".join([lines[0], *sorted(lines[1:])]), "apart.csv")
    for path in (mixed, apart):
        train, _, test = rows(path, series="shop")
        assert [row["series"] for row in train] == ["a", "b"]
        assert [np.asarray(r["future"])[:, 0].tolist() for r in test] == [[7, 8], [17, 18]]
    assert rows(mixed, series="shop")[0][1].source == f"{mixed}:3"


def test_jsonl_and_parquet_are_read_like_csv(tmp_path):
    values = [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]
    text = hours(values)
    path = table(tmp_path, text)
    cells = [line.split(",") for line in text.splitlines()[1:]]
    objects = [json.dumps({"date": d, "load": float(v)}) for d, v in cells]
    made = [table(tmp_path, "\n".join(objects), "load.jsonl")]
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    stamps = [np.datetime64(d) for d, _ in cells]
    made.append(tmp_path / "load.parquet")
    parquet.write_table(
        pyarrow.table({"date": np.array(stamps, "datetime64[us]"), "load": values}), made[-1]
    )
    wanted = rows(path)
    for other in made:
        found = rows(other)
        for ours, theirs in zip(wanted, found, strict=True):
            for name in ("past", "future"):
                assert np.array_equal(ours[0][name], theirs[0][name])
            assert ours[0]["time"] == theirs[0]["time"]


def test_the_first_of_some_months_is_monthly(tmp_path):
    lines = ["month,load", *(f"{2019 + m // 12}-{1 + m % 12:02},{m}" for m in range(16))]
    train, valid, _ = rows(table(tmp_path, "\n".join(lines)))
    assert train[0]["frequency"] == ["months", 1]
    assert len(valid[0]["past"]) == 8


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("a,b\nx,1\ny,2\n", {}, "FILE: no column of times; there are: a, b: set data.time="),
        (
            "date,load\n2020-01-02,1\n2020-01-01,2\n",
            {},
            "FILE:3: 2020-01-01 00:00:00 comes after 2020-01-02 00:00:00: sort the rows by time, or "
            "set data.sort=true",
        ),
        (
            "date,load\n2020-01-01,1\n2020-01-02,2\n2020-01-02,3\n",
            {},
            "FILE:4: 2020-01-02 00:00:00 stands twice, first in line 3: remove one of them",
        ),
        (
            "date,load\n2020-01-01,1\n2020-01-02,2\n2020-01-03,2\n2020-01-06,3\n",
            {},
            "FILE:5: 2 steps of 1 day missing after 2020-01-03 00:00:00: data.fill=last or "
            "data.fill=linear fills gaps",
        ),
        (
            "date,load\n2020-01-01,1\n2020-01-02,2\n2020-01-03,2\n2020-01-03 07:00,3\n",
            {},
            "FILE:5: 2020-01-03 07:00:00 is not a whole number of steps of 1 day after the first: one "
            "file has one frequency",
        ),
        (
            "date,load\n"
            + "".join(f"2020-01-{day:02},1\n" for day in (*range(1, 13), *range(14, 29, 2))),
            {"target": "load"},
            "FILE:14: values every 2 days from here on, every 1 day elsewhere: one file has one "
            "frequency",
        ),
        (
            "date,load,price\n2020-01-01,1,2\n2020-01-02,1,2\n",
            {"target": "load", "past": "price", "future": "price"},
            "FILE: column 'price' is named twice among the covariates: choose one",
        ),
        (
            "date,load\n2020-01-01,1\n2020-01-02,\n2020-01-03,2\n",
            {},
            "FILE:3: column 'load' has no value: data.fill=last or data.fill=linear fills it",
        ),
        (
            "date,load,wind\n2020-01-01,1,\n2020-01-02,1,\n2020-01-03,2,5\n",
            {},
            "FILE:2: column 'wind' has no value: it starts at FILE:4; data.fill=last cuts the steps "
            "before",
        ),
        (
            "date,load\n2020-01-01,x\n",
            {"target": "load"},
            "FILE:2: column 'load' holds 'x', no number",
        ),
        (
            "date;load\n2020-01-01;1,5\n",
            {"target": "load"},
            "FILE:2: column 'load' holds '1,5', no number: a decimal comma needs data.decimal=,",
        ),
        (
            "date,load\nyesterday,1\n",
            {"time": "date"},
            "FILE:2: column 'date' holds 'yesterday', no time: write 2016-07-01 13:00, the year first, "
            "or numbers of steps",
        ),
        (
            'date,load\n2020-01-01,"1,200"\n',
            {},
            "FILE:2: column 'load' holds '1,200', no number: remove the commas between thousands",
        ),
        (
            "date,load\n2020-01-01,$10\n",
            {},
            "FILE: no column of numbers to forecast; 'load' holds '$10': remove what stands beside the "
            "digits: set data.target=COLUMN",
        ),
        (
            "date,load\n2020-01-01,1\n2020-01-02,2\n2020-01-03,x\n",
            {},
            "FILE:4: no column of numbers to forecast; 'load' holds 'x': set data.target=COLUMN",
        ),
        (
            "time,load\n" + "".join(f"{1577836800 + 3600 * hour},1\n" for hour in range(20)),
            {},
            "FILE:3: the times are numbers that rise by 3600, and numbers of steps rise by 1: write "
            "dates, or set data.time=none",
        ),
        ("date,load\n", {}, "FILE: holds no rows; needed: one at least"),
        (
            "date,shop,load\n2020-01-01,A,1\n2020-01-01,B,2\n",
            {},
            "FILE:3: 2020-01-01 00:00:00 stands twice, first in line 2: remove one of them; of several "
            "series in one file: set data.series=shop",
        ),
        (
            "month,load\n" + "".join(f"{2019 + n // 12}{n % 12 + 1:02},1\n" for n in range(20)),
            {},
            "FILE:14: 88 steps of 1 step missing after 201912: data.fill=last or data.fill=linear "
            "fills gaps; if the numbers are dates: set data.date_format, such as %Y%m",
        ),
        (
            "date;load\n2020-01-01;1.200,5\n",
            {},
            "FILE:2: column 'load' holds '1.200,5', no number: a decimal comma needs data.decimal=,",
        ),
        (
            "date,load\n2020-01-01,▲100\n",
            {"target": "load"},
            "FILE:2: column 'load' holds '▲100', no number: write a negative number with a minus, -100",
        ),
        (
            "date,load\n2020-01-01,(100)\n",
            {"target": "load"},
            "FILE:2: column 'load' holds '(100)', no number: write a negative number with a minus, -100",
        ),
        (
            "date,load\n2020-01-01T00:00+09:00,1\n2020-01-01 01:00,2\n",
            {},
            "FILE:3: column 'date' holds '2020-01-01 01:00': it names no time zone, times before it do",
        ),
        (
            "date,load\n2020-01-01 00:00,1\n2020-01-01 01:00Z,2\n",
            {},
            "FILE:3: column 'date' holds '2020-01-01 01:00Z': it names its time zone, times before it "
            "do not: write all in one way",
        ),
        (
            "date,load\n2020-01-01,1\n",
            {"target": "lod"},
            "FILE: no column 'lod'; there are: date, load: set data.target=…",
        ),
        (
            "date,load\n2020-01-01,inf\n",
            {},
            "FILE:2: column 'load' holds 'inf', no finite number",
        ),
        (
            "date,load,kind\n2020-01-01,1,1\n2020-01-02,1,2\n",
            {"static": "kind"},
            "FILE:3: static column 'kind' changes within the series",
        ),
    ],
)
def test_a_fault_is_one_line_with_its_place_and_cure(tmp_path, text, settings, said):
    found = fails(table(tmp_path, text), **settings)
    assert found.startswith(said), found
    assert "\n" not in found


def test_what_is_asked_for_is_mended_and_said(tmp_path, caplog):
    text = "date,load\n2020-01-02,\n2020-01-04,4\n2020-01-03,3\n2020-01-05,\n2020-01-08,8\n"
    with caplog.at_level(logging.INFO, "zoo"):
        train, _, test = rows(table(tmp_path, text), sort=True, fill="linear")
    every = [*np.asarray(test[0]["past"])[:, 0], *np.asarray(test[0]["future"])[:, 0]]
    assert every == [3, 4, 5, 6, 7, 8]
    assert np.int64(train[0]["time"]).view("datetime64[us]").astype(str).startswith("2020-01-03")
    said = " ".join(record.getMessage() for record in caplog.records)
    for part in (
        "1 series were sorted",
        "2 missing steps were filled",
        "1 steps at an end were cut",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("day", "clock"),
    [
        ("2020/1/{day}", "{hour}:00"),
        ("2020年1月{day}日", "{hour}時"),
        ("{day}.1.2020", "{hour:02}:00"),
        ("R2.1.{day}", "{end}:00"),  # 1:00 to 24:00
    ],
)
def test_a_column_of_days_and_one_of_times_are_read_together(tmp_path, caplog, day, clock):
    lines = ["DATE,TIME,load"]
    for hour in range(48):
        told = {"day": 14 + hour // 24, "hour": hour % 24, "end": hour % 24 + 1}
        lines.append(f"{day.format(**told)},{clock.format(**told)},{hour}")
    path = table(tmp_path, "\n".join(lines) + "\n")
    with caplog.at_level(logging.INFO, "zoo"):
        train, _, test = rows(path)
    begins = np.int64(train[0]["time"]).view("datetime64[us]")
    assert begins == np.datetime64("2020-01-14T01:00" if "end" in clock else "2020-01-14T00:00")
    assert train[0]["frequency"] == ["microseconds", 3_600_000_000]
    assert train[0]["columns"]["target"] == ["load"]
    assert np.asarray(test[0]["future"])[-1].tolist() == [47]
    assert (
        f"{path}: the days of 'DATE' and the times of 'TIME' are read together" in caplog.messages
    )


def test_a_time_of_day_that_does_not_change_within_a_day_is_no_part_of_the_date(tmp_path):
    lines = [f"2020-01-{n + 1:02},9:00,{n}" for n in range(12)]
    train, *_ = rows(table(tmp_path, "\n".join(["date,opens,load", *lines])))
    assert train[0]["frequency"] == ["microseconds", 86_400_000_000]


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_the_index_that_pandas_wrote_is_not_forecast(tmp_path, caplog, name):
    lines = [f"{n},2020-01-{n + 1:02},{n * n}" for n in range(12)]
    path = table(tmp_path, "\n".join([f"{name},date,load", *lines]))
    with caplog.at_level(logging.INFO, "zoo"):
        train, *_ = rows(path)
    assert train[0]["columns"]["target"] == ["load"]
    assert f"{path}: column {name!r} numbers the rows: it is not forecast" in caplog.messages


def test_full_width_numbers_are_numbers(tmp_path):
    train, *_ = rows(
        table(tmp_path, hours(["１２．５", "－３", "7", "8"])), split=[0.5, 0.25, 0.25]
    )
    assert np.asarray(train[0]["future"])[:, 0].tolist() == [12.5, -3]


def test_filling_with_the_last_value_looks_at_no_later_one(tmp_path):
    text = "date,load\n2020-01-01,1\n2020-01-02,\n2020-01-03,9\n2020-01-04,9\n"
    *_, test = rows(table(tmp_path, text), fill="last")
    assert np.asarray(test[0]["past"])[:, 0].tolist() == [1, 1, 9]


def days(form, count=12, first=5):
    """A table of days from the 5th of January 2020, written in a form."""
    dates = [date(2020, 1, first) + timedelta(days=n) for n in range(count)]
    return "Tag,load\n" + "".join(f"{day.strftime(form)},{n}\n" for n, day in enumerate(dates))


@pytest.mark.parametrize(
    ("form", "settings", "said"),
    [
        ("%d/%m/%Y", {}, "dates are read as day/month/year: FILE:10 holds '13/01/2020'"),
        ("%m/%d/%Y", {}, "dates are read as month/day/year: FILE:10 holds '01/13/2020'"),
        ("%d.%m.%Y 7:00", {}, "dates are read as day/month/year: FILE:10 holds '13.01.2020 7:00'"),
        ("%m-%d-%Y 7:00 am", {}, "dates are read as month/day/year: FILE:10 holds"),
        ("%d/%m/%Y", {"date_format": "dmy"}, None),
        ("%d.%m.%y", {"date_format": "%d.%m.%y"}, None),
        ("%Y-%m-%d", {"date_format": "dmy"}, None),
    ],
)
def test_a_day_above_12_tells_the_order_of_dates_with_the_year_last(
    tmp_path, caplog, form, settings, said
):
    path = table(tmp_path, days(form))
    with caplog.at_level(logging.INFO, "zoo"):
        train, _, _ = rows(path, **settings)
    hour = 7 if "7:00" in form else 0
    found = np.int64(train[0]["time"]).view("datetime64[us]")
    assert str(found).startswith(f"2020-01-05T{hour:02}:00:00")
    assert train[0]["frequency"] == ["microseconds", 86_400_000_000]
    told = [m.replace(str(path), "FILE") for m in caplog.messages if "are read as" in m]
    assert [line.partition("FILE: ")[2][: len(said or "")] for line in told] == [said] * bool(said)


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        (
            days("%d/%m/%Y", 6),
            {},
            "FILE: column 'Tag' holds '05/01/2020', and no number above 12 in it tells day from month: "
            "set data.date_format=dmy or data.date_format=mdy",
        ),
        (
            days("%d/%m/%Y") + "01/30/2020,1\n",
            {},
            "FILE:14: column 'Tag' holds '01/30/2020', no time: dates are read as day/month/year",
        ),
        (
            days("%d.%m.%y"),
            {"time": "Tag"},
            "FILE:2: column 'Tag' holds '05.01.20', no time: write 2016-07-01 13:00, the year first, "
            "or numbers of steps; data.date_format=%d.%m.%y names another form",
        ),
        (days("%Y"), {"date_format": "ymd"}, "data.date_format=ymd: dmy (day/month/year), mdy"),
        (days("%Y"), {"date_format": "%d.%q"}, "data.date_format=%d.%q: 'q' is a bad directive"),
    ],
)
def test_dates_that_may_be_two_days_are_refused(tmp_path, text, settings, said):
    assert fails(table(tmp_path, text), **settings).startswith(said)


def test_the_embedded_series_needs_no_file_and_no_network():
    splits = open_corpus({"name": "co2"})
    train, test = next(iter(splits.train)), next(iter(splits.test))
    assert len(test["past"]) + len(test["future"]) == 2284
    assert np.asarray(train["future"])[0, 0] == 316.1
    assert np.isfinite(np.asarray(test["past"])).all()


def test_ett_has_its_usual_split_and_all_windows(tmp_path):
    count = 14_500
    stamps = np.datetime64("2016-07-01T00:00:00") + np.arange(count) * np.timedelta64(1, "h")
    lines = [f"{str(s).replace('T', ' ')},{n}.0,{n % 24}.5" for n, s in enumerate(stamps)]
    table(tmp_path, "\n".join(["date,HUFL,OT", *lines]), "ETTh1.csv")
    splits = open_corpus({"name": "ett", "path": str(tmp_path)})
    sizes = [
        (len(r["past"]), len(r["future"]))
        for part in (splits.train, splits.valid, splits.test)
        for r in part
    ]
    assert sizes == [(0, 8640), (8640, 2880), (11_520, 2880)]
    with pytest.raises(InputError, match=r"ETTh2\.csv: No such file"):
        open_corpus({"name": "ett", "path": str(tmp_path), "file": "ETTh2"})
