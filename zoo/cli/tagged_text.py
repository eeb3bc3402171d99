"""Labelled words for the eye, and for other programs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from zoo.text import bio

COLOURS = (
    "bright_yellow",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
    "bright_blue",
    "bright_red",
    "dark_orange",
    "spring_green3",
    "deep_sky_blue1",
    "orchid",
    "gold3",
    "light_salmon1",
    "turquoise2",
    "medium_purple1",
    "chartreuse3",
    "hot_pink",
    "wheat1",
    "light_steel_blue",
)


def conll(words: Sequence[str], labels: Sequence[str]) -> str:
    """A word and its label to a line, a tab between; a sentence ends with an empty line."""
    return "".join(f"{word}\t{label}\n" for word, label in zip(words, labels, strict=True))


def coloured(words: Sequence[str], labels: Sequence[str], every: Sequence[str]) -> Text:
    """Words on the colour of their label, its name behind them; a span has one colour and one name.
    `every`: all labels of the task, so that a label has the same colour in all sentences."""
    is_span = bio.are_spans(every)
    kinds = sorted({bio.parts(label)[1] if is_span else label for label in every} - {""})
    shown = Text()
    for together, kind in _grouped(words, labels, is_span):
        if shown:
            shown.append(" ")
        if not kind:
            shown.append(" ".join(together))
            continue
        colour = COLOURS[kinds.index(kind) % len(COLOURS)]
        shown.append(f" {' '.join(together)} ", f"black on {colour}").append(f" {kind}", colour)
    return shown


def ansi(text: Text) -> str:
    """A text with its colours, for a terminal."""
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="256", soft_wrap=True).print(text, end="")
    return out.getvalue()


def _grouped(
    words: Sequence[str], labels: Sequence[str], is_span: bool
) -> Iterator[tuple[list[str], str]]:
    """Words that have a label together, and what it is called; "" outside of spans."""
    together: list[str] = []
    before = ""
    for word, label in zip(words, labels, strict=True):
        prefix, kind = bio.parts(label) if is_span else ("B", label)
        if together and (prefix in bio.BEGIN or kind != before):
            yield together, before
            together = []
        together.append(word)
        before = kind
    if together:
        yield together, before
