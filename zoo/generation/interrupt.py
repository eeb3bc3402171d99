"""End what nobody waits for: a thread is asked before each token and before each module."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_own = threading.local()


@contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` before each token that this thread writes. What it raises ends the writing.

    It is called before each module of a model, too, after `ask_before_modules(model)`.
    """
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


def ask_before_modules(model: nn.Module) -> Callable[[], None]:
    """Let each module of a model call `may_go_on` first; return the function that ends this.

    Other models of the process are left alone, and so are threads without a check.

    >>> layer = nn.Linear(2, 1)
    >>> stop_asking = ask_before_modules(layer)
    >>> stop_asking()
    """
    handles = [module.register_forward_pre_hook(_ask) for module in model.modules()]

    def end() -> None:
        for handle in handles:
            handle.remove()

    return end


def _ask(*_: Any) -> None:
    may_go_on()
