"""Cells of tables as numbers, in the two ways in which points and commas are used."""

from __future__ import annotations

import math
import re
from typing import Any

from zoo.data.series.cells import dates
from zoo.messages import _

EMPTY = {"", "na", "n/a", "nan", "null", "none", "-"}  # cells without a value
# 1.006 or 1.234.567,8: points between thousands
THOUSANDS = re.compile(r"[-+−]?\d{1,3}(\.\d{3})+(,\d*)?")
# 1.006, which is also a number with a decimal point
EITHER = re.compile(r"[-+−]?[1-9]\d{0,2}\.\d{3}")
WHOLE = re.compile(r"[-+−]?\d{3,}")


def number(cell: Any, decimal: str = ".") -> float | None:
    """Return a cell as a number, NaN for an empty one, None for anything else."""
    if cell is None:
        return math.nan
    if isinstance(cell, (int, float)):  # true and false count as 1 and 0
        return float(cell)
    if not isinstance(cell, str):
        return None
    text = dates.plain(cell)
    if text.lower() in EMPTY:
        return math.nan
    if decimal == ",":
        if "." in text and not THOUSANDS.fullmatch(text):
            return None
        text = text.replace(".", "").replace(",", ".")
    try:
        return float(text.replace("−", "-"))
    except ValueError:
        return None


def cure_of(cell: str) -> str:
    """Return how a cell becomes a number, as the end of a message; "" if that is not known."""
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", cell):
        return _(": remove the commas between thousands; a decimal comma needs data.decimal=,")
    if re.fullmatch(r"-?\d+,\d+|-?\d{1,3}(\.\d{3})+,\d+", cell):
        return _(": a decimal comma needs data.decimal=,")
    if re.fullmatch(r"-?\d+\.\d+", cell):  # a number, but not with data.decimal=,
        return _(": a decimal point needs data.decimal=.")
    if re.fullmatch(r"[▲△]\s*[\d,.]+|\([\d,.]+\)", cell):
        return _(": write a negative number with a minus, -{digits}", digits=cell.strip("▲△() "))
    if re.search(r"\d", cell):
        return _(": remove what stands beside the digits")
    return ""


class PointsSeen:
    """What the points in a column's cells may be, where they are read as decimal points.

    Numbers of a column that is rounded lose their last zeros: 1.006, 0.94, 1.2. So where each point
    has three digits behind it, and others have no point but three digits, it is between thousands.
    """

    def __init__(self) -> None:
        self.cell = self.place = ""  # the first cell with a point
        self._decimal = self._whole = False

    @property
    def between_thousands(self) -> bool:
        """Whether all points of the column seem to stand between thousands."""
        return bool(self.cell) and self._whole and not self._decimal

    def add(self, cell: str, place: str) -> None:
        """Take a cell and its place in the file into account."""
        if self._decimal:
            return
        text = cell.strip()
        if "." not in text:
            self._whole = self._whole or WHOLE.fullmatch(text) is not None
        elif not EITHER.fullmatch(text):
            self._decimal = True
        elif not self.cell:
            self.cell, self.place = text, place
