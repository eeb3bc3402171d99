"""Tables of trials and of folds as text, at most 100 columns wide."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import table
from rich.console import Console
from rich.markup import escape

from zoo.files.output import is_terminal
from zoo.messages import translated

WIDTH = 100  # columns


@dataclass(frozen=True)
class Table:
    """A table whose texts may be messages; its first column is aligned left.

    Columns stay aligned in languages whose characters are two columns wide.
    """

    title: str
    names: Sequence[str]
    lines: Sequence[Sequence[str]]
    bold: int  # the number of the line that stands out

    def shown(self) -> str:
        """Return the table in the user's language, with the bold line of a terminal."""
        return self._drawn(translated, colours=is_terminal())

    def kept(self) -> str:
        """Return the table in English, as reports hold it."""
        return self._drawn(str, colours=False)

    def _drawn(self, say: Callable[[str], str], colours: bool) -> str:
        drawn = table.Table(title=escape(say(self.title)))
        for place, name in enumerate(self.names):
            justify: table.JustifyMethod = "right" if place else "left"
            drawn.add_column(escape(say(name)), justify=justify, overflow="fold")
        for number, line in enumerate(self.lines):
            cells = [escape(say(cell)) for cell in line]
            drawn.add_row(*cells, style="bold" if number == self.bold else None)
        file = io.StringIO()
        Console(file=file, width=WIDTH, highlight=False, force_terminal=colours or None).print(
            drawn
        )
        return file.getvalue().rstrip("\n")
