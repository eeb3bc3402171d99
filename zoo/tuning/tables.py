"""Tables of trials as text, at most 100 columns wide."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDTH = 100  # columns


def drawn(
    title: str, names: Sequence[str], lines: Sequence[Sequence[str]], bold: int | None = None
) -> str:
    """Return a table as text; the first column is aligned left. Line number `bold` stands out."""
    table = Table(title=title)
    for place, name in enumerate(names):
        table.add_column(escape(name), justify="right" if place else "left", overflow="fold")
    for number, line in enumerate(lines):
        table.add_row(*map(escape, line), style="bold" if number == bold else None)
    colours = sys.stdout.isatty()
    console = Console(
        file=io.StringIO(), width=WIDTH, highlight=False, force_terminal=colours or None
    )
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n")
