"""Prefetch batches: a thread makes the next ones while the device computes a step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetch(
    make: Callable[[Item], Made], items: Iterable[Item], depth: int
) -> Generator[tuple[Item, Made], None, None]:
    """Yield (item, make(item)) for every item, in order.

    One thread makes up to `depth` results ahead. With `depth` 0 each result is made on demand,
    without a thread. An error of `make` is raised at its item. Raises ValueError if `depth` is
    negative.
    """
    if depth < 0:
        raise ValueError(f"depth must be at least 0, not {depth}")
    if depth == 0:
        for item in items:
            yield item, make(item)
        return
    source = iter(items)
    waiting: deque[tuple[Item, Future[Made]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        try:
            for following in islice(source, depth):
                waiting.append((following, thread.submit(make, following)))
            while waiting:
                item, future = waiting.popleft()
                made = future.result()
                for following in islice(source, 1):  # submitted before the caller computes
                    waiting.append((following, thread.submit(make, following)))
                yield item, made
        finally:
            for _, future in waiting:
                future.cancel()
