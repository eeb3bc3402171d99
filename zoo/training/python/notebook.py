"""What a training shows in a notebook: its log lines, and a progress bar."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import Any

from zoo.messages import Formatter

log = logging.getLogger("zoo")

PAUSE = 0.2  # seconds between two drawings of the bar


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


@contextmanager
def shown() -> Iterator[bool]:
    """Show what is logged meanwhile, in a notebook or on a terminal, unless logging is set up.

    Yields whether it does. A level of the logger "zoo", or handlers of a program, are left as they are.
    """
    notebook = in_notebook()
    is_set_up = log.level != logging.NOTSET or log.isEnabledFor(logging.INFO)
    if is_set_up or not (notebook or (sys.stderr.isatty() and not log.hasHandlers())):
        yield False
        return
    handler = logging.StreamHandler(sys.stdout if notebook else sys.stderr)
    handler.setFormatter(Formatter())
    propagated = log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield True
    finally:
        log.propagate = propagated
        log.setLevel(logging.NOTSET)
        log.removeHandler(handler)


class NotebookBar:
    """A progress bar in the output of a cell, where the log is shown. It needs no widgets."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.drawn = 0.0  # time of the last drawing
        self.display: Any = None
        if in_notebook() and log.isEnabledFor(logging.INFO):
            self.display = import_module("IPython.display")

    @property
    def is_drawn(self) -> bool:
        return self.display is not None

    def update(self, share: float, text: str) -> None:
        """Draw a share of 1, and a text beside it, unless that was done a moment ago."""
        now = time.monotonic()
        if self.display is None or now - self.drawn < PAUSE:
            return
        self.drawn = now
        bar = f'<progress value="{share:.4f}" max="1" style="width: 20em"></progress>'
        self._show(f"{bar} {escape(text)}")

    def close(self) -> None:
        """Remove the bar."""
        if self.handle is not None:
            self._show("")
            self.handle = None

    def _show(self, html: str) -> None:
        shown = self.display.HTML(html)
        if self.handle is None:
            self.handle = self.display.display(shown, display_id=True)
        else:
            self.handle.update(shown)
