"""Dates as people write them become ISO 8601: `令和6年1月9日 9時30分` is `2024-01-09 09:30`.

Read are full-width digits, years of Japanese eras and of the Republic of China, days of the week
behind a date, and hours of one digit, of twelve hours, or 24:00.
"""

from __future__ import annotations

import re
import unicodedata

ERAS = {  # name, letter -> the year before its first, and its last one
    ("明治", "M"): (1867, 45),
    ("大正", "T"): (1911, 15),
    ("昭和", "S"): (1925, 64),
    ("平成", "H"): (1988, 31),
    ("令和", "R"): (2018, 99),
    ("民國", "民國"): (1911, 999),
    ("民国", "民国"): (1911, 999),
}
NAMES = "|".join(name for names in ERAS for name in names)
ERA_YEAR = re.compile(rf"({NAMES})\s*(\d{{1,3}}|元)(?=年|[./-]\d{{1,2}}[./-]\d)")
YEAR_FIRST = re.compile(
    r"(\d{4})(?:年|[./-])\s*(\d{1,2})"
    r"(?:月$|(?:月|[./-])\s*(\d{1,2})(?:日|(?=[T,\s(]|$|[月火水木金土日]曜)))(.*)"
)
WEEKDAY = re.compile(
    r"\s*(?:\((?:(?:週|周|星期)?[月火水木金土日一二三四五六](?:曜日?)?|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun))\)"
    r"|[月火水木金土日]曜日?)"
)
KANJI_CLOCK = re.compile(r"(\d{1,2})時(?:(\d{1,2})分)?(?:(\d{1,2})秒)?")
TIME_OF_DAY = re.compile(r"\d{1,2}(:\d{2}){1,2}|\d{1,2}時(\d{1,2}分)?")
HALF_DAY = re.compile(r"(午前|午後|上午|下午)\s*(.*)")
CLOCK = re.compile(r"(\d{1,2})(:\d{2}(?:[:.][\d:.]*)?|)\s*([AaPp])\.?[Mm]\.?")  # 1:30 PM
AFTERNOON = "午後", "下午"


def plain(cell: object) -> str:
    """Return a cell as text without blanks around it, its full-width digits as those of ASCII."""
    text = str(cell).strip()
    return text if text.isascii() else unicodedata.normalize("NFKC", text).strip()


def is_clock(cell: object) -> bool:
    """Return whether a cell is a time of day alone: 9:00, 24:00:00 or 9時30分."""
    return isinstance(cell, str) and TIME_OF_DAY.fullmatch(plain(cell)) is not None


def iso(text: str) -> str:
    """Return a plain text with its date, the year first, and its time as ISO 8601 writes them."""
    found = YEAR_FIRST.fullmatch(_western(text))
    if found is None:
        return text
    year, month, day, rest = found.groups()
    rest = WEEKDAY.sub("", rest, 1)
    return f"{year}-{int(month):02}-{int(day or 1):02}{clock(rest)}"


def clock(text: str) -> str:
    """Return the time behind a date as ISO 8601 writes it: ` 13:30` of `, 1:30 PM`."""
    text = KANJI_CLOCK.sub(_digits, text.lstrip("T, "))
    half = HALF_DAY.fullmatch(text)
    if half is not None:
        text = f"{half[2]} {'p' if half[1] in AFTERNOON else 'a'}m"
    found = CLOCK.fullmatch(text)
    if found is not None and 1 <= int(found[1]) <= 12:
        hour = int(found[1]) % 12 + 12 * (found[3] in "Pp")
        text = f"{hour:02}{found[2] or ':00'}"
    elif re.match(r"\d:", text):
        text = f"0{text}"
    return f" {text}" if text else ""


def _western(text: str) -> str:
    """Return a text whose year of an era is one of four digits."""
    found = None if text[:1].isdecimal() else ERA_YEAR.match(text)
    if found is None:
        return text
    before, last = next(years for names, years in ERAS.items() if found[1] in names)
    year = 1 if found[2] == "元" else int(found[2])
    return f"{before + year}{text[found.end() :]}" if 1 <= year <= last else text


def _digits(found: re.Match[str]) -> str:
    hour, minute, second = found.groups()
    return f"{int(hour):02}:{int(minute or 0):02}" + (f":{int(second):02}" if second else "")
