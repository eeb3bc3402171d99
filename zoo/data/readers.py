"""Read rows, one dict per example, one at a time from any supported file.

    .jsonl      an object per line                     keys are the columns
    .csv .tsv   a header line, then a row per line     the header names the columns
    .txt        a line per row                         column "text"
    .conllu     a word per line, ten columns           columns "words", "lemma", "upos", "xpos", …
    .conll .bio a word per line, its label at the end  columns "words", "labels"; "2", "3", … between
    parallel    two text files, line by line           columns "source", "target"
    folder      LABEL/*.txt, a text per file           columns "text", "label"

Each file may also be gzip'ed (`reviews.csv.gz`). Text is UTF-8; a byte order mark and CRLF are
removed. Every row has its source, `file:line`, and every error begins with it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, count, zip_longest
from pathlib import Path
from typing import IO, Any

from zoo.data.conll import Sentence, columns, conllu
from zoo.errors import InputError, RowError

LONGEST_LINE = 1 << 24  # bytes; a longer line is taken for a file without line ends


class Row(dict):
    """One example: column name -> value. `source` is its `file:line`."""

    def __init__(self, columns: dict, source: str) -> None:
        super().__init__(columns)
        self.source = source


class Rows:
    """Rows that can be iterated repeatedly; each iteration reads them again."""

    def __init__(self, read: Callable[[], Iterable[Row]], name: str) -> None:
        self.read = read
        self.name = name

    def __iter__(self) -> Iterator[Row]:
        return iter(self.read())


def column(row: Row, name: str) -> str:
    """Return the text of a row's column. Raises RowError if it is missing or not a text."""
    if name not in row:
        there = ", ".join(row)
        raise RowError(row.source, f"no column {name!r}; there are: {there}")
    if not isinstance(row[name], (str, int, float)):
        raise RowError(row.source, f"column {name!r} holds {row[name]!r}, not a text")
    return str(row[name])


def read(path: str | Path) -> Iterator[Row]:
    """Read the rows of a file, or of a folder with a sub-folder of .txt files for each label.

    Raises RowError with `file:line` for a row, InputError for a file that cannot be read
    or has no rows.
    """
    path = Path(path)
    suffix = Path(path.name.removesuffix(".gz")).suffix
    reader = _folder if os.path.isdir(path) else READERS.get(suffix)
    if reader is None and not os.path.exists(path):
        raise InputError(f"{path}: No such file or directory")
    if reader is None:
        known = " ".join(READERS)
        raise InputError(f"{path}: unknown format {suffix or 'without a suffix'}; known: {known}")
    rows = reader(path)
    first = next(rows, None)
    if first is None:
        needed = "LABEL/*.txt, a text per file" if reader is _folder else "one at least"
        raise InputError(f"{path}: holds no rows; needed: {needed}")
    return chain([first], rows)


def parallel(source: str | Path, target: str | Path) -> Iterator[Row]:
    """Read two line-aligned text files into the columns "source" and "target".

    Raises InputError if their numbers of lines differ or are zero.
    """
    source_lines = target_lines = 0
    for left, right in zip_longest(lines(Path(source)), lines(Path(target))):
        source_lines += left is not None
        target_lines += right is not None
        if source_lines == target_lines:
            yield Row({"source": left, "target": right}, f"{source}:{source_lines}")
    if source_lines != target_lines:
        counts = f"{source} has {source_lines:,} lines, {target} {target_lines:,}"
        raise InputError(f"{counts}: line by line they must belong together")
    if not source_lines:
        raise InputError(f"{source}: holds no rows; needed: one at least")


def lines(path: Path) -> Iterator[str]:
    """Yield the decoded lines of a file without their line ends."""
    with _opened(path) as file:
        yield from decoded(file, str(path))


def decoded(file: IO[bytes], name: str) -> Iterator[str]:
    """Yield the lines of an open file without their line ends.

    Raises RowError for a line that is not UTF-8 or too long, and for broken gzip data.
    """
    for number in count(1):
        try:
            raw = file.readline(LONGEST_LINE + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise RowError(f"{name}:{number}", f"broken gzip data: {error}") from None
        if not raw:
            return
        yield _text(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw, f"{name}:{number}")


def _text(raw: bytes, source: str) -> str:
    """Decode one line. Raises RowError at `source`."""
    if len(raw) > LONGEST_LINE:
        size = f"{LONGEST_LINE >> 20} MB"
        raise RowError(source, f"a line of more than {size}: put line ends between the rows")
    if b"\0" in raw:
        raise RowError(
            source, "a NUL byte: this is not a text file, or it is UTF-16; save as UTF-8"
        )
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x} at column {error.start + 1}"
        raise RowError(source, f"not UTF-8 ({byte}): save the file as UTF-8") from None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, decompressed if it is gzip'ed. Raises InputError if it cannot be opened."""
    try:
        file = open(path, "rb")  # noqa: SIM115  # closed below
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    with file:
        yield io.BufferedReader(gzip.GzipFile(fileobj=file)) if path.suffix == ".gz" else file


def text(path: Path) -> Iterator[Row]:
    """Read a row per line of a text file, including empty lines."""
    for number, line in enumerate(lines(path), 1):
        yield Row({"text": line}, f"{path}:{number}")


def _jsonl(path: Path) -> Iterator[Row]:
    """Read a JSON object per line; blank lines are skipped."""
    for number, line in enumerate(lines(path), 1):
        source = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            columns = json.loads(line)
            if "\\u" in line:  # an escape can be half a surrogate pair
                json.dumps(columns, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise RowError(
                source, "half a surrogate pair (\\ud800 to \\udfff) is no text"
            ) from None
        except (ValueError, RecursionError) as error:
            raise RowError(source, f"not JSON ({error}): put one object in each line") from None
        if not isinstance(columns, dict):
            raise RowError(source, f"an object is needed, {{…}}, not a {type(columns).__name__}")
        yield Row(columns, source)


def _csv(path: Path) -> Iterator[Row]:
    """Read comma-separated columns with quotes."""
    csv.field_size_limit(LONGEST_LINE)
    yield from _table(path, csv.reader((line + "\n" for line in lines(path)), strict=True))


def _tsv(path: Path) -> Iterator[Row]:
    """Read tab-separated columns; a quotation mark has no special meaning."""
    csv.field_size_limit(LONGEST_LINE)
    ended_lines = (line + "\n" for line in lines(path))
    yield from _table(path, csv.reader(ended_lines, "excel-tab", quoting=csv.QUOTE_NONE))


def _table(path: Path, reader: Any) -> Iterator[Row]:  # csv.reader: its type has no name
    """Read a row per line after the header line."""
    header: list[str] | None = None
    while True:
        source = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise RowError(source, _explain(error)) from None
        if cells is None:
            return
        if not cells:  # an empty line
            continue
        if header is None:
            header = cells
            repeated = sorted({name for name in header if header.count(name) > 1})
            if repeated:
                raise RowError(source, f"the header names {', '.join(repeated)} twice: rename one")
            continue
        if len(cells) != len(header):
            cure = "every row needs a cell for each column"
            raise RowError(source, f"{len(cells)} cells, the header has {len(header)}: {cure}")
        yield Row(dict(zip(header, cells, strict=True)), source)


def _explain(error: csv.Error) -> str:
    """Turn an error of the csv module into one that names the fix."""
    if "new-line" in str(error):
        return "a carriage return inside a line: end the lines with LF or CRLF"
    return f"{error}: a quotation mark is not closed, or not doubled inside quotes"


def _sentences(
    parse: Callable[[Iterable[str], str], Iterator[Sentence]], path: Path
) -> Iterator[Row]:
    for number, found in parse(lines(path), str(path)):
        yield Row(found, f"{path}:{number}")


def _folder(path: Path) -> Iterator[Row]:
    """Read the files LABEL/*.txt of a folder, a row per file."""
    files = [*path.glob("*/*.txt"), *path.glob("*/*.txt.gz")]
    for file in sorted(files, key=lambda f: (f.parent, _numbered(f.name))):
        text = "\n".join(lines(file))
        yield Row({"text": text, "label": file.parent.name}, str(file))


def _numbered(name: str) -> list[tuple[int, str]]:
    """Return a sort key by the numbers in a name: 9_7.txt comes before 10_2.txt."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def sentences(path: Path) -> Iterator[Row]:
    """Read a row per sentence of a column file."""
    return _sentences(columns, path)


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".tsv": _tsv,
    ".txt": text,
    ".conllu": partial(_sentences, conllu),
    ".conll": sentences,
    ".bio": sentences,
}
