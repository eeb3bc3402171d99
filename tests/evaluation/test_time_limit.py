"""A baseline takes about as long as it may: on all rows, or on a part that is spread over them."""

from __future__ import annotations

import logging
import time
from itertools import pairwise

import pytest

from zoo.data.readers import Row
from zoo.evaluation import baselines
from zoo.evaluation.time_limit import BLOCK, LEAST_SECONDS, PROBE, spread, within

ROWS = [Row({"text": f"text {i}", "label": "ab"[i >= 10_000]}, f"rows:{i}") for i in range(20_000)]


class Slow:
    """A baseline that takes its time for each row, and notes what it was given."""

    def __init__(self, seconds: float, least: int = 0) -> None:
        self.seconds, self.least = seconds, least
        self.calls: list[tuple[list[Row], list[Row]]] = []

    def __call__(self, train, test, kind):
        train, test = [*train], [*test]
        if len(train) < self.least:
            raise ValueError("too few rows")
        self.calls.append((train, test))
        time.sleep(self.seconds * (len(train) + len(test)))
        return {"rows": len(train), "kind": kind}


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3, 0.01, 0.001])
def test_a_part_is_spread_over_all_rows_in_whole_blocks(share):
    found = [int(row["text"].split()[1]) for row in spread(ROWS, share)]
    assert abs(len(found) - share * len(ROWS)) <= BLOCK
    assert found == sorted({*found})
    blocks = sorted({number // BLOCK for number in found})
    assert len(found) == BLOCK * len(blocks)
    gaps = [after - before for before, after in pairwise(blocks)]
    assert all(gap <= 1 / share + 1 for gap in gaps)
    assert blocks[0] == 0


def test_rows_that_are_sorted_by_label_keep_their_labels():
    labels = [row["label"] for row in spread(ROWS, 0.05)]
    assert labels.count("a") == labels.count("b") == 500


def test_a_fast_baseline_learns_from_all_rows(caplog):
    fast = Slow(0)
    with caplog.at_level(logging.INFO, "zoo"):
        found = within(fast, ROWS, ROWS[:100], "words", len(ROWS), 1.0)
    assert found == {"rows": len(ROWS), "kind": "words"}
    assert caplog.messages == []
    trial, whole = fast.calls
    assert (len(trial[0]), len(trial[1])) == (PROBE, BLOCK)
    assert whole == (ROWS, ROWS[:100])


def test_a_slow_baseline_learns_from_as_many_rows_as_there_is_time_for(caplog, monkeypatch):
    monkeypatch.setattr("zoo.evaluation.time_limit.LEAST_SECONDS", 0.1)
    slow = Slow(1e-4)  # 2 s for all rows
    with caplog.at_level(logging.INFO, "zoo"):
        start = time.perf_counter()
        found = within(slow, ROWS, ROWS[:20], "words", len(ROWS), 0.5)
        taken = time.perf_counter() - start
    assert 2000 < found["rows"] <= 5000 + BLOCK
    assert taken < 1.2
    (line,) = caplog.messages
    assert line.startswith("baseline: it learns from about ")
    assert line.endswith(" of 20,000 training rows, to take no longer than the training")
    assert slow.calls[-1][1] == ROWS[:20]  # all test rows


def test_few_rows_and_short_times_are_never_limited():
    assert LEAST_SECONDS == 5
    slow = Slow(1e-5)
    assert within(slow, ROWS[:PROBE], ROWS[:9], "", PROBE, 0.0)["rows"] == PROBE
    assert len(slow.calls) == 1  # without a trial
    assert within(slow, ROWS[:2000], ROWS[:9], "", 2000, 0.0)["rows"] == 2000


def test_a_trial_that_cannot_be_is_left_out():
    picky = Slow(0, least=1500)
    assert within(picky, ROWS[:2000], ROWS[:9], "", 2000, 1.0)["rows"] == 2000


def test_the_figures_of_a_baseline_with_time_enough_are_its_own():
    test = ROWS[::100]
    own = baselines.tfidf(ROWS, test, "words")
    found = within(baselines.tfidf, ROWS, test, "words", len(ROWS), 1000.0)
    assert {**own, "seconds": 0} == {**found, "seconds": 0}
