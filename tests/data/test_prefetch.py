"""Prefetching: in order, at most `depth` ahead, and an error is raised at its item."""

from __future__ import annotations

import threading
import time

import pytest

from zoo.data.prefetch import prefetch


@pytest.mark.parametrize("depth", [0, 1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_every_item_comes_in_order(depth, count):
    found = [*prefetch(lambda item: item * 10, range(count), depth)]
    assert found == [(item, item * 10) for item in range(count)]


def test_items_that_count_as_false_are_items():
    assert [*prefetch(str, [0, None, "", 0], 2)] == [(0, "0"), (None, "None"), ("", ""), (0, "0")]


def test_no_more_are_made_than_asked_for():
    made = []
    stream = prefetch(made.append, range(100), 3)
    next(stream)
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert made == [0, 1, 2, 3]
    stream.close()
    assert len(made) <= 4


def test_the_next_one_is_made_while_the_caller_computes():
    begun = threading.Event()

    def make(item):
        if item == 1:
            begun.set()
        return threading.current_thread().name

    stream = prefetch(make, range(2), 1)
    _, name = next(stream)
    assert begun.wait(10)
    assert name.startswith("prefetch")
    assert next(stream)[0] == 1


def test_without_depth_nothing_is_made_before_it_is_asked_for():
    made = []
    stream = prefetch(made.append, range(5), 0)
    next(stream)
    assert made == [0]


@pytest.mark.parametrize("depth", [0, 2])
def test_an_error_is_raised_at_its_item_and_the_thread_ends(depth):
    def make(item):
        if item == 2:
            raise ValueError("row 2")
        return item

    before = threading.active_count()
    stream = prefetch(make, range(10), depth)
    assert [next(stream), next(stream)] == [(0, 0), (1, 1)]
    with pytest.raises(ValueError, match="row 2"):
        next(stream)
    assert threading.active_count() == before


def test_a_closed_stream_leaves_no_thread():
    before = threading.active_count()
    stream = prefetch(lambda item: item, range(1000), 4)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_a_negative_depth_is_an_error():
    with pytest.raises(ValueError, match="at least 0, not -1"):
        next(prefetch(str, [1], -1))
