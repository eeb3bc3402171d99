"""Cells as numbers: points and commas, what they cannot mean, and what they might."""

from __future__ import annotations

import logging
import math

import pytest

from zoo.data.corpora import open_corpus
from zoo.data.series.cells.numbers import PointsSeen, cure_of, number
from zoo.errors import InputError


@pytest.mark.parametrize(
    ("cell", "point", "comma"),
    [
        ("1.006", 1.006, 1006.0),
        ("-1.234.567,8", None, -1234567.8),
        ("12", 12.0, 12.0),
        ("0,5", None, 0.5),
        ("1.5", 1.5, None),  # not 15
        ("1.0065", 1.0065, None),
        ("1234.567", 1234.567, None),
        ("1.23.456", None, None),
        ("−3", -3.0, -3.0),
        ("x", None, None),
        (7, 7.0, 7.0),
        ([], None, None),
    ],
)
def test_a_point_is_a_decimal_one_or_stands_between_thousands(cell, point, comma):
    assert number(cell) == point
    assert number(cell, ",") == comma


@pytest.mark.parametrize("cell", [None, "", " ", "NA", "nan", "-"])
def test_cells_without_a_value_are_nan(cell):
    assert math.isnan(number(cell))
    assert math.isnan(number(cell, ","))


@pytest.mark.parametrize(
    ("cell", "cure"),
    [
        ("1,5", ": a decimal comma needs data.decimal=,"),
        ("1,234", ": remove the commas between thousands; a decimal comma needs data.decimal=,"),
        ("1.5", ": a decimal point needs data.decimal=."),
        ("5 kg", ": remove what stands beside the digits"),
        ("much", ""),
    ],
)
def test_a_cell_that_is_no_number_has_a_cure(cell, cure):
    assert cure_of(cell) == cure


@pytest.mark.parametrize(
    ("cells", "between"),
    [
        (["944", "1.006"], True),
        (["1.006", "-944"], True),
        (["1.006", "1.2", "944"], False),  # rounded numbers lose their last zeros
        (["0.944", "1.006", "944"], False),
        (["1.006", "1.207"], False),  # all have three digits: nothing tells
        (["1.006", "12"], False),  # beside thousands there would be hundreds
        (["1006", "944"], False),
        ([], False),
    ],
)
def test_points_between_thousands_are_told_by_the_column(cells, between):
    seen = PointsSeen()
    for place, cell in enumerate(cells):
        seen.add(cell, str(place))
    assert seen.between_thousands == between


def load(path, **settings):
    splits = open_corpus({"name": "series", "path": str(path), **settings})
    return [*splits.train, *splits.valid, *splits.test]


def test_a_point_that_may_stand_between_thousands_is_said_with_its_place(tmp_path, caplog):
    path = tmp_path / "load.csv"
    lines = [f"{1 + n:02}.01.2024;{900 + n};{n}.25\n" for n in range(28)]
    lines[20] = "21.01.2024;1.006;7.25\n"
    path.write_text("day;load;price\n" + "".join(lines))
    with caplog.at_level(logging.INFO, "zoo"):
        load(path)
    said = [r.getMessage() for r in caplog.records if "thousands" in r.getMessage()]
    assert said == [
        f"{path}:22: column 'load' holds '1.006', read as 1.006: if the point stands between "
        "thousands, add data.decimal=,"
    ]
    caplog.clear()
    path.write_text(path.read_text().replace(";1.006", ";−1.006"), "utf-8")
    with caplog.at_level(logging.INFO, "zoo"):
        load(path)  # a minus that float() does not read
    assert "holds '−1.006', read as -1.006" in caplog.text
    caplog.clear()
    with pytest.raises(InputError, match=r"a decimal point needs data\.decimal=\."):
        load(path, decimal=",")  # of the other column
    path.write_text(path.read_text().replace(".25", ",25"))
    with caplog.at_level(logging.INFO, "zoo"):
        load(path, decimal=",")
    assert not [r for r in caplog.records if "thousands" in r.getMessage()]
