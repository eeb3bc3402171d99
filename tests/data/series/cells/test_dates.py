"""Dates as people of several countries write them are read as the moments that they mean."""

from __future__ import annotations

from datetime import datetime

import pytest

from zoo.data.series.cells.times import START, has_zone, parse


@pytest.mark.parametrize(
    ("cell", "means"),
    [
        ("2024/1/9 0:00", "2024-01-09"),  # Excel, in Japan and in Taiwan
        ("2024/1/9 9:05:30", "2024-01-09 09:05:30"),
        ("2024-1-9 1:30:00 PM", "2024-01-09 13:30"),
        ("2024/1/9 上午 12:00:00", "2024-01-09"),
        ("2024/1/9 下午 03:05", "2024-01-09 15:05"),
        ("2024/1/9(火) 24:00", "2024-01-10"),
        ("2024-01-31 24:00:00", "2024-02-01"),
        ("2024年1月9日", "2024-01-09"),
        ("2024年01月09日 9時5分", "2024-01-09 09:05"),
        ("2024年1月9日火曜日", "2024-01-09"),
        ("2024年1月", "2024-01-01"),
        ("2024/1", "2024-01-01"),
        ("令和6年1月9日9時", "2024-01-09 09:00"),
        ("令和元年5月1日", "2019-05-01"),
        ("㋿6年1月9日", "2024-01-09"),
        ("H31.4.30", "2019-04-30"),
        ("S64/1/7", "1989-01-07"),
        ("民國113年1月9日(二)", "2024-01-09"),
        ("２０２４－０１－０９　０９：００", "2024-01-09 09:00"),
        ("2024-01-09T09:00:00+09:00", "2024-01-09"),
        ("2024-01-09", "2024-01-09"),
    ],
)
def test_a_date_means_one_moment(cell, means):
    passed = (datetime.fromisoformat(means) - START).total_seconds()
    assert parse(cell) == (passed * 1_000_000, True)


@pytest.mark.parametrize(
    "cell",
    [
        "H32.1.1",
        "R0.1.1",
        "X6.1.9",
        "2024-1-123",
        "2024-01-1203",
        "2024年1月1203",
        "2024/2/30",
        "2024年度",
        "113/01/09",
        "R6",
    ],
)
def test_what_is_no_date_is_none(cell):
    assert parse(cell) is None


def test_a_zone_is_told_from_a_day_and_a_time():
    assert has_zone("2024-01-09T09:00+09:00")
    assert has_zone("2024-01-09 09:00:00Z")
    assert not has_zone("2024-01-09")
    assert not has_zone("2024-01-09 09:00")
