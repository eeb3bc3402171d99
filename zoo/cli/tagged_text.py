"""Labelled words as text: in colour for a terminal, or in CoNLL format."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from zoo.text import bio

COLOURS = (
    "bright_yellow", "bright_cyan", "bright_green", "bright_magenta", "bright_blue", "bright_red",
    "dark_orange", "spring_green3", "deep_sky_blue1", "orchid", "gold3", "light_salmon1",
    "turquoise2", "medium_purple1", "chartreuse3", "hot_pink", "wheat1", "light_steel_blue",
)  # fmt: skip


def conll(words: Sequence[str], labels: Sequence[str]) -> str:
    """Return one line per word: the word, a tab, its label, a line end.

    Raises ValueError when the counts of words and labels differ.
    """
    return "".join(f"{word}\t{label}\n" for word, label in zip(words, labels, strict=True))


def coloured(words: Sequence[str], labels: Sequence[str], every: Sequence[str]) -> Text:
    """Return words on the colour of their label, followed by the name of the label.

    A span has one colour and one name. `every` holds all labels of the task, so that a label has
    the same colour in every sentence.
    """
    is_span = bio.are_spans(every)
    kinds = sorted({bio.parts(label)[1] if is_span else label for label in every} - {""})
    shown = Text()
    for group, kind in _grouped(words, labels, is_span):
        if shown:
            shown.append(" ")
        if not kind:
            shown.append(" ".join(group))
            continue
        colour = COLOURS[kinds.index(kind) % len(COLOURS)]
        shown.append(f" {' '.join(group)} ", f"black on {colour}").append(f" {kind}", colour)
    return shown


def ansi(text: Text) -> str:
    """Return a text with its colours as ANSI escapes."""
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="256", soft_wrap=True).print(text, end="")
    return out.getvalue()


def _grouped(
    words: Sequence[str], labels: Sequence[str], is_span: bool
) -> Iterator[tuple[list[str], str]]:
    """Yield the words of each span with its type; "" outside of spans."""
    group: list[str] = []
    previous = ""
    for word, label in zip(words, labels, strict=True):
        prefix, kind = bio.parts(label) if is_span else ("B", label)
        if group and (prefix in bio.BEGIN or kind != previous):
            yield group, previous
            group = []
        group.append(word)
        previous = kind
    if group:
        yield group, previous
