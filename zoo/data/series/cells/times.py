"""Time stamps as whole numbers, and the frequency of a series.

A stamp is a number of microseconds since 1970, in UTC if it names its zone. Numbered steps are their
own numbers. A frequency is a fixed number of microseconds, of calendar months, or of numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from zoo.data.series.cells import dates
from zoo.errors import InputError
from zoo.messages import _

Unit = Literal["microseconds", "months", "steps"]

DAY = 86_400 * 1_000_000
WORDS = {7 * DAY: "week", DAY: "day", 3_600_000_000: "hour", 60_000_000: "minute"}
WORDS |= {1_000_000: "second", 1: "microsecond"}
START = datetime(1970, 1, 1)
FEWEST_MONTH_DAYS = 28
ORDERS = {"dmy": "day/month/year", "mdy": "month/day/year"}  # of dates with the year last
YEAR_LAST = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(|(?:T|,? +)\S.*)")
MIDNIGHT = re.compile(r"(.* )24(:00(?::00(?:\.0+)?)?)(.*)")  # the end of a day
ZONE = re.compile(r".*:\d\d[\d:.]*\s*(?:Z|[+-]\d\d(?::?\d\d)?)")


@dataclass(frozen=True)
class Frequency:
    """The distance of neighbouring values: `count` units."""

    unit: Unit
    count: int

    def __str__(self) -> str:
        """Return it in words: `1 hour`."""
        count, word = self.count, self.unit.removesuffix("s")
        if self.unit == "microseconds":
            size, word = next((s, w) for s, w in WORDS.items() if count % s == 0)
            count //= size
        return f"{count} {word}{'s' * (count != 1)}"

    def positions(self, times: np.ndarray) -> np.ndarray:
        """Return the places (values,) of stamps on the grid of the frequency, as float64."""
        if self.unit == "months":
            months = _months(times)
            return (months - months[0]) / self.count
        return (times - times[0]) / self.count

    def step(self, time: int, places: int) -> int:
        """Return the stamp that lies some places after another, or before it."""
        if self.unit != "months":
            return time + places * self.count
        date = np.int64(time).view("datetime64[us]")
        month = date.astype("datetime64[M]")
        into = date - month.astype("datetime64[us]")
        moved = month + places * self.count
        end = (month + 1).astype("datetime64[us]") - date <= np.timedelta64(DAY, "us")
        length = (moved + 1).astype("datetime64[us]") - moved.astype("datetime64[us]")
        day = np.timedelta64(DAY, "us")
        if end or into >= length:  # the last day of a month stays the last day
            into = length - day + into % day
        return int((moved.astype("datetime64[us]") + into).astype(np.int64))


STEPS = Frequency("steps", 1)


def find(times: np.ndarray) -> Frequency:
    """Return the commonest distance of sorted stamps (values,) without doubles, in microseconds.

    Stamps a calendar month apart, or several, are found as months.
    """
    distances, counts = np.unique(np.diff(times), return_counts=True)
    common = int(distances[counts.argmax()])
    if common >= FEWEST_MONTH_DAYS * DAY and _are_monthly(times):
        months, counts = np.unique(np.diff(_months(times)), return_counts=True)
        return Frequency("months", int(months[counts.argmax()]))
    return Frequency("microseconds", common)


def _are_monthly(times: np.ndarray) -> bool:
    """Return whether all stamps lie on the same day of a month, or all on its last day."""
    dates = times.view("datetime64[us]")
    months = dates.astype("datetime64[M]")
    into = (dates - months.astype("datetime64[us]")).astype(np.int64)
    left = ((months + 1).astype("datetime64[us]") - dates).astype(np.int64)
    return len(np.unique(into)) == 1 or len(np.unique(left)) == 1


def _months(times: np.ndarray) -> np.ndarray:
    return times.view("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def check_format(form: str | None) -> None:
    """Raise InputError for a `data.date_format` that is no order of a date and no format."""
    if form is None or form in ORDERS:
        return
    cure = _("dmy (day/month/year), mdy (month/day/year), or a format such as %d.%m.%y %H:%M")
    try:
        known = "%" in form and datetime.strptime(START.strftime(form), form) == START
    except ValueError as error:
        cure = f"{error}; " + cure
        known = False
    if not known:
        raise InputError(f"data.date_format={form}: " + cure)


def order_of(cell: Any) -> str | None:
    """Return the order that a date with the year last must have; "" if it may have both.

    A number above 12 is a day: 13/04/2016 is `dmy`, 04/13/2016 is `mdy`. None for anything else.
    """
    found = YEAR_LAST.fullmatch(dates.plain(cell))
    if found is None:
        return None
    first, second = int(found[1]), int(found[3])
    return "dmy" if first > 12 else "mdy" if second > 12 else ""


def parse(cell: Any, form: str | None = None) -> tuple[int, bool] | None:
    """Return a stamp, and whether it is a date; None for what is neither a date nor a number.

    Dates are written with the year first: 2016-07-01 13:00, 2016/7/1 9:00, 20160701, 2016-07,
    2016年7月1日. A number is the number of a step. `form` is `dmy` or `mdy` for dates with the year
    last, or a format of `strptime`, which all dates have then.
    """
    if form is not None and form not in ORDERS and isinstance(cell, str):
        try:
            return _microseconds(datetime.strptime(cell.strip(), form)), True
        except ValueError:
            return None
    if isinstance(cell, bool) or cell is None:
        return None
    if isinstance(cell, datetime):
        return _microseconds(cell), True
    if isinstance(cell, (int, float)):
        return (int(cell), False) if cell == int(cell) else None
    text = dates.plain(cell)
    last = None if form is None else YEAR_LAST.fullmatch(text)
    if last is not None:
        day, month = (last[1], last[3]) if form == "dmy" else (last[3], last[1])
        text = f"{last[4]}-{int(month):02}-{int(day):02}{dates.clock(last[5])}"
    else:
        text = dates.iso(text).replace("/", "-")
    if re.fullmatch(r"-?\d{1,7}|\d{9,}", text):
        return int(text), False
    if re.fullmatch(r"\d{4}-\d{1,2}", text):
        text = f"{text[:5]}{int(text[5:]):02}-01"
    end = MIDNIGHT.fullmatch(text)
    if end is not None:
        text = f"{end[1]}00{end[2]}{end[3]}"
    try:
        return _microseconds(datetime.fromisoformat(text)) + DAY * (end is not None), True
    except ValueError:
        return None


def has_zone(cell: Any) -> bool:
    """Return whether a date and time names its time zone, as in 2016-07-01 13:00+09:00."""
    if isinstance(cell, datetime):
        return cell.tzinfo is not None
    return isinstance(cell, str) and ":" in cell and ZONE.fullmatch(cell.strip()) is not None


def _microseconds(date: datetime) -> int:
    if date.tzinfo is not None:
        date = date.astimezone(UTC).replace(tzinfo=None)
    passed = date - START
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def write(time: int, frequency: Frequency) -> str:
    """Return a stamp as text: a number of a step, a date, or a date and a time."""
    if frequency.unit == "steps":
        return str(time)
    text = str(np.int64(time).view("datetime64[us]")).replace("T", " ")
    text = re.sub(r"\.0+$", "", text)
    coarse = frequency.unit == "months" or frequency.count % DAY == 0
    return text.removesuffix(" 00:00:00") if coarse else text
