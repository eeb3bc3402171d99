"""Rows that change before a resume are found and named."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.classify import Classify
from tasks.forecast import Forecast
from zoo.data.corpora import open_corpus
from zoo.data.readers import Row
from zoo.training.resume.rows import RowHashes, check_rows, difference, file_of

ROWS = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(6)]


def hashes(rows):
    return RowHashes.of([Row(row, f"f:{n + 1}") for n, row in enumerate(rows)], Classify)


def changed(number, **columns):
    return [row | columns if n == number else row for n, row in enumerate(ROWS)]


CHANGES = {
    "added": ([*ROWS, ROWS[0]], (6, "is new: 1 row was added")),
    "added before": ([{"text": "new", "label": "a"}, *ROWS], (0, "is new: 1 row was added")),
    "removed": (ROWS[:2] + ROWS[4:], (2, "is missing: 2 rows were removed")),
    "removed last": (ROWS[:-1], (5, "is missing: 1 row was removed")),
    "both": (ROWS[1:] + ROWS[4:] * 2, (0, "differs: 1 row was removed, 4 rows were added")),
    "order": ([*ROWS[:3], *ROWS[:2:-1]], (3, "and others are in another order")),
    "text": (changed(2, text="other"), (2, "has another text")),
    "label": (changed(4, label="b"), (4, "has another label")),
    "texts": ([*changed(4, text="x")[:5], ROWS[0]], (4, "has another text, and so has 1 more")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named_with_its_first_row(tmp_path, name):
    rows, expected = CHANGES[name]
    before = hashes(ROWS)
    assert difference(before, hashes(rows)) == expected
    before.save(tmp_path / file_of("valid"))
    now = [Row(row, f"f:{n + 1}") for n, row in enumerate(rows)]
    found = check_rows(now, "valid", before.digest(), tmp_path, Classify)
    place, change = expected
    where = f" (f:{place + 1})" if place < len(rows) else ""
    start = "the validation rows are not those that the run began with"
    assert found == f"{start}: row {place + 1}{where} {change}"
    (tmp_path / file_of("valid")).write_bytes(b"damaged")
    assert check_rows(now, "valid", before.digest(), tmp_path, Classify) == start


def test_equal_rows_have_one_digest_and_columns_that_nobody_reads_do_not_count():
    more = [row | {"author": f"{n}"} for n, row in enumerate(ROWS)]
    assert hashes(ROWS).digest() == hashes(more).digest()


def test_arrays_have_fingerprints_too():
    class Series(Classify):
        input_columns = ("past",)

    def digest(last):
        rows = [Row({"past": np.array([[1.0], [last]]), "label": "a"}, "f:1")]
        return RowHashes.of(rows, Series).digest()

    assert digest(2.0) == digest(2.0) != digest(2.5)


def test_series_that_are_stored_in_another_file_are_the_same_rows():
    """Of a table each reading stores the values anew; their place is not what is compared."""
    both = [[*open_corpus({"name": "co2"}).valid] for _ in range(2)]
    one, two = (RowHashes.of(rows, Forecast).digest() for rows in both)
    assert one == two
    assert RowHashes.of(open_corpus({"name": "co2"}).test, Forecast).digest() != one
