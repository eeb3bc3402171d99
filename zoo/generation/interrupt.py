"""End the writing of texts that nobody waits for: a thread is asked before each token."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_own = threading.local()


@contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` before each token that this thread writes. What it raises ends the writing."""
    before = getattr(_own, "check", None)
    _own.check = check
    try:
        yield
    finally:
        _own.check = before


def may_go_on() -> None:
    """Call the check of this thread, if it has one."""
    check = getattr(_own, "check", None)
    if check is not None:
        check()
