"""Parse CoNLL-U and column files: one word per line, a blank line between sentences.

Each function takes the lines of a file and yields (number of the first line, columns). A column
is a list as long as the sentence. Errors begin with `name:line`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from zoo.errors import RowError
from zoo.messages import _
from zoo.text import bio
from zoo.text.decoding import Once, Say

CONLLU = ("words", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
LONGEST_ID = 20  # digits
LONG = 200  # words; a file that is one sentence of more lacks its blank lines
DOCUMENT = "-DOCSTART-"  # the first line of a document in the files of CoNLL-2003

Sentence = tuple[int, dict[str, list[str]]]


def conllu(lines: Iterable[str], name: str) -> Iterator[Sentence]:
    """Yield the sentences of a CoNLL-U file, with the column names of CONLLU.

    Multiword ranges (3-4) and empty nodes (8.1) are left out. Raises RowError for a line without
    ten filled columns and for an invalid id. Word ids must count 1, 2, 3.
    """
    for block in _blocks(lines):
        words: list[list[str]] = []
        for number, line in block:
            if line.startswith("#"):
                continue
            source = f"{name}:{number}"
            cells = line.split("\t")
            if len(cells) != 1 + len(CONLLU):
                raise RowError(source, f"{len(cells)} columns: CoNLL-U has ten, between tabs")
            if "" in cells:
                raise RowError(
                    source, f"column {cells.index('') + 1} is empty: write _ for nothing"
                )
            if cells[0].isdecimal():
                words.append(cells[1:])
                if len(cells[0]) > LONGEST_ID or int(cells[0]) != len(words):
                    raise RowError(source, f"id {cells[0]:.20} where {len(words)} is due")
            elif not re.fullmatch(r"\d+-\d+|\d+\.\d+", cells[0]):
                raise RowError(source, f"id {cells[0]!r:.20}: CoNLL-U has 1, 3-4 or 8.1")
        if words:
            yield block[0][0], _transpose(CONLLU, words)


def columns(lines: Iterable[str], name: str, say: Say | None = None) -> Iterator[Sentence]:
    """Yield the sentences of a column file, `word … label`, separated by tabs or else blanks.

    The first column is "words", the last "labels", and those between are "2", "3", …; a file with
    one column has no labels. Comments are left out, and `say` is called with their number.
    Raises RowError for an empty cell. It is also raised for a line with another number of columns
    than the first line of the file.
    """
    say = say or Once()
    width = 0
    seen: set[str] = set()  # labels of the words so far
    comments: list[int] = []  # their lines
    lengths: list[int] = []  # of the first two sentences
    for block in _blocks(lines):
        words: list[list[str]] = []
        cut = [(number, line, _cells(line)) for number, line in block]
        plain = [cells for _number, _line, cells in cut if not cells[0].startswith("#")]
        plain = [cells for cells in plain if cells[0] != DOCUMENT]
        width = width or (len(plain[0]) if plain else 0)
        seen |= {cells[-1] for cells in plain if len(cells) == width}
        for number, line, cells in cut:
            source = f"{name}:{number}"
            if cells[0] == DOCUMENT:
                continue
            if _is_comment(line, cells, width, seen, not words):
                comments.append(number)
                continue
            width = width or len(cells)
            if len(cells) != width:
                said = _(
                    "{count} columns, the first line has {width}: "
                    "every word needs a label, and every line the same columns",
                    count=len(cells),
                    width=width,
                )
                raise RowError(source, said)
            if "" in cells:
                number = cells.index("") + 1
                raise RowError(source, _("column {number} is empty", number=number))
            words.append(cells)
        names = ["words", *map(str, range(2, width)), "labels"][:width]
        if words:
            lengths = [*lengths[:1], len(words)]
            yield block[0][0], _transpose(names, words)
    if len(lengths) == 1 and lengths[0] > LONG:
        said = _(
            "{name}: one sentence of {words:,} words: a blank line ends a sentence",
            name=name,
            words=lengths[0],
        )
        say(said)
    if comments:
        said = _(
            "{place}: {count:,} comments, from this line on, are left out",
            place=f"{name}:{comments[0]}",
            count=len(comments),
        )
        say(said)


def _cells(line: str) -> list[str]:
    """Return the cells of a line, between tabs or else between blanks."""
    return [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()


def _is_comment(line: str, cells: list[str], width: int, seen: set[str], is_first: bool) -> bool:
    """Return whether a line is a comment, and not the word # or #tag with its label.

    A line with as many cells as the others is of a word if it has tabs, if another word has its
    label, or if that is a span label. Otherwise it is a comment where comments stand: before
    the first word of a sentence, or with a blank behind #.
    """
    if not line.lstrip().startswith("#"):
        return False
    if len(cells) == width or (not width and len(cells) > 1):
        label = cells[-1]
        is_label = label in seen or label == bio.OUTSIDE or bio.parts(label)[0] in bio.PREFIXES
        return cells[0] == "#" and width != 1 and "\t" not in line and not is_label
    return is_first or cells[0] == "#" or cells[0].startswith("# ")


def _blocks(lines: Iterable[str]) -> Iterator[list[tuple[int, str]]]:
    """Yield each block of consecutive non-blank lines, with line numbers."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(chain(lines, [""]), 1):
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []


def _transpose(names: Iterable[str], words: list[list[str]]) -> dict[str, list[str]]:
    """Turn a list of cells per word into a list of words per column."""
    return dict(zip(names, map(list, zip(*words, strict=True)), strict=True))
