"""The rows of a run: which are skipped or refused, and which share of them is used."""

from __future__ import annotations

from collections import Counter

import pytest
from conftest import DATA, lines, settings

from zoo.data.readers import Row, Rows
from zoo.errors import InputError, RowError
from zoo.registry import find
from zoo.training import rows as run_rows

TOYS = lines(DATA / "translate.jsonl")
GAPS = [
    {"source": "", "target": "x"},
    {"source": "x", "target": " "},
    {"source": "\t", "target": ""},
    {"source": "y", "target": ""},
]
REASONS = {"an empty source": 1, "an empty target": 2, "an empty source and target": 1}


def usable(rows, strict=False):
    read = [Row(row, f"x:{i}") for i, row in enumerate(rows, 1)]
    return run_rows.ValidRows(Rows(lambda: read, "x"), find("translate"), strict)


def test_rows_with_an_empty_side_are_left_out_and_counted():
    rows = usable([*GAPS, *TOYS[:3], GAPS[1]])
    for _ in range(2):  # counted anew each time
        assert list(rows) == TOYS[:3]
        assert rows.skipped == Counter(REASONS) + Counter(["an empty target"])
    assert list(usable(TOYS)) == TOYS
    with pytest.raises(RowError, match=r"^x:2: an empty target; strict=false skips such rows$"):
        list(usable([TOYS[0], GAPS[1]], strict=True))
    assert list(usable(TOYS, strict=True)) == TOYS


def test_a_row_without_a_column_is_an_error_and_not_skipped():
    for row in ({"source": "x"}, {"source": "x", "target": None}):
        with pytest.raises(RowError, match=r"^x:2: no 'target', there are source"):
            list(usable([TOYS[0], row]))


def test_nothing_that_is_left_says_why():
    with pytest.raises(InputError) as caught:
        list(usable(GAPS))
    counts = ", ".join(f"{count} with {reason}" for reason, count in REASONS.items())
    assert str(caught.value) == f"x: holds no rows that can be used; skipped are {counts}"


def shared(share, seed=1, *overrides):
    """The parts of the toy rows when a share of those for training is used."""
    return run_rows.open_rows(
        settings(None, f"train.fraction={share}", f"seed={seed}", *overrides), find("classify")
    )


def places(rows) -> list[str]:
    return [row.source for row in rows]


def test_a_share_of_the_training_rows_is_drawn_by_the_seed():
    whole, half = shared(1), shared(0.5)
    every, some = places(whole.train), places(half.train)
    assert places(half.train) == some  # whenever they are read
    assert places(shared(0.5).train) == some
    assert some == [place for place in every if place in some]
    assert len(every) / 3 < len(some) < len(every) / 1.5
    other = places(shared(0.5, 2).train)
    assert sorted(other) != sorted(some)
    assert {*other} <= {*every}
    assert 0 < len(places(shared(0.1).train)) < len(some) / 2


def test_a_share_leaves_what_is_measured_by_as_it_is():
    whole, half = shared(1), shared(0.3)
    for part in ("valid", "test"):
        assert places(getattr(half, part)) == places(getattr(whole, part))
    given = [f"data.{part}={DATA / 'classify.jsonl'}" for part in ("valid", "test")]
    files = shared(0.3, 1, *given)
    assert len(places(files.valid)) == len(places(files.test)) == 96
    assert len(places(files.train)) < 50


def test_rows_are_read_as_they_are_drawn():
    read = []
    rows = Rows(lambda: (read.append(number) or number for number in range(100)), "numbers")
    some = run_rows._some(rows, 0.5, 1)
    first = next(some)
    assert read == [*range(first + 1)]
    assert [first, *some] == [*run_rows._some(rows, 0.5, 1)]
