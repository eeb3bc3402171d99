"""Read rows, one dict per example, one at a time from any supported file.

    .jsonl      an object per line                     keys are the columns
    .csv .tsv   a header line, then a row per line     the header names the columns
    .txt        a line per row                         column "text"
    .conllu     a word per line, ten columns           columns "words", "lemma", "upos", "xpos", …
    .conll .bio a word per line, its label at the end  columns "words", "labels"; "2", "3", … between
    parallel    two text files, line by line           columns "source", "target"
    folder      LABEL/*.txt, a text per file           columns "text", "label"

Each file may also be gzip'ed (`reviews.csv.gz`). Text is UTF-8, or what `zoo.text.decoding` can tell
from its bytes. Every row has its source, `file:line`, and every error begins with it.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import IO, Any, NamedTuple

from zoo.data.conll import columns, conllu
from zoo.errors import InputError, RowError
from zoo.messages import Message, _
from zoo.text.canonical import encodable
from zoo.text.decoding import LONGEST_LINE, Neighbours, Once, Say, decoded

INVISIBLE = string.whitespace + "\u00a0\u3000\u200b\ufeff"  # around the name of a column
LONGEST_NAMES = 300  # characters of names in a message
SPREADSHEETS = ".xlsx", ".xls", ".xlsm", ".ods", ".numbers"
ARCHIVES = ".zip", ".7z", ".rar", ".tar", ".tgz", ".lzh"
OTHER_JSON = ".json", ".ndjson"
PROBED = 20  # lines of a table from which its separator is told


class Row(dict):
    """One example: column name -> value. `source` is its `file:line`.

    `names` maps the columns that were renamed to their names in the file.
    """

    def __init__(self, columns: dict, source: str, names: Mapping[str, str] | None = None) -> None:
        super().__init__({name: _encodable(value) for name, value in columns.items()})
        self.source = source
        self.names = names or {}


def _encodable(value: Any) -> Any:
    """Return a value whose texts can be encoded: half a surrogate pair becomes U+FFFD."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list) and value and isinstance(value[0], (str, list)):
        return [_encodable(each) for each in value]
    return value


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
        said = _("no column {name!r}; there are: {columns}", name=name, columns=", ".join(row))
        raise RowError(row.source, said)
    check_value(row, name)
    if not isinstance(row[name], (str, int, float)):
        raise RowError(row.source, f"column {name!r} holds {row[name]!r}, not a text")
    return str(row[name])


def label_set(row: Row, name: str = "label") -> list[str]:
    """Return the distinct labels of a row: those of a list, or its only one.

    Raises RowError for an item of the list that is no label.
    """
    value = row.get(name)
    if not isinstance(value, (list, tuple)):
        return [column(row, name)]
    for item in value:
        plain = isinstance(item, (str, int, float)) and item == item
        if not plain or not str(item).strip():
            named = row.names.get(name, name)
            raise RowError(
                row.source, f"column {named!r} has the label {item!r}: fill it, or leave it out"
            )
    return [*dict.fromkeys(str(item).strip() for item in value)]


def trimmed(text: str) -> str:
    """Return a text without blanks, and characters that nobody sees, around it."""
    while (shorter := text.strip().strip(INVISIBLE)) != text:
        text = shorter
    return text


def is_empty(value: Any) -> bool:
    """Return whether a value is white text, or a list or array without items."""
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, Sized) and len(value) == 0


def check_value(row: Row, name: str, may_be_empty: bool = True) -> None:
    """Raise RowError if a column of a row holds null, NaN or, unless it may, white space only."""
    value = row.get(name)
    found = ""
    if name in row and value is None:
        found = "null"
    elif isinstance(value, float) and math.isnan(value):
        found = _("NaN, no value")
    elif isinstance(value, str) and not may_be_empty and not value.strip():
        found = _("empty")
    if found:
        named = row.names.get(name, name)
        said = _("column {name!r} is {found}: fill it, or remove the row", name=named, found=found)
        raise RowError(row.source, said)


@dataclass(frozen=True)
class File:
    """A file that is read: its encoding, None for what can be told, and what is said about it."""

    path: Path
    encoding: str | None = None
    say: Say = field(default_factory=Once)
    neighbours: Neighbours | None = None

    def __str__(self) -> str:
        return str(self.path)

    def lines(self) -> Iterator[str]:
        """Yield the decoded lines without their line ends. Raises InputError."""
        check_name(self.path)
        with _opened(self.path) as file:
            name = str(self.path)
            yield from decoded(file, name, self.encoding, self.say, self.neighbours)


def check_name(path: Path) -> None:
    """Raise InputError for a path that is not UTF-8: a report could not hold it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise InputError(f"{shown}: the name is not UTF-8: rename it") from None


def read(path: str | Path, encoding: str | None = None, say: Say | None = None) -> Iterator[Row]:
    """Read the rows of a file, or of a folder with a sub-folder of .txt files for each label.

    `say` is called with a line about each finding, such as an encoding. Raises RowError with
    `file:line` for a row, InputError for a file that cannot be read or has no rows.
    """
    path = Path(path)
    check_name(path)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    reader = _folder if os.path.isdir(path) else READERS.get(suffix)
    if reader is None and not os.path.exists(path):
        raise InputError(_("{path}: No such file or directory", path=path))
    if reader is None:
        said = _(
            "{path}: unknown format {suffix}; known: {known}",
            path=path,
            suffix=suffix or _("without a suffix"),
            known=" ".join(READERS),
        )
        if suffix in SPREADSHEETS:
            said += _("; a spreadsheet: save it as .csv")
        elif suffix in ARCHIVES:
            said += _("; an archive: unpack it, or compress one file with gzip")
        elif suffix in OTHER_JSON:
            said += _("; JSON: one object in each line, and call the file .jsonl")
        raise InputError(said)
    rows = reader(File(path, encoding, say or Once()))
    first = next(rows, None)
    if first is None:
        needed = _("one at least")
        if reader is _folder:
            needed = _("LABEL/*.txt, a text per file; texts without labels: data=text")
        raise _no_rows(path, needed)
    return chain([first], rows)


def parallel(
    source: str | Path,
    target: str | Path,
    encoding: str | None = None,
    say: Say | None = None,
) -> Iterator[Row]:
    """Read two line-aligned text files into the columns "source" and "target".

    Raises InputError if their numbers of lines differ or are zero.
    """
    source_lines = target_lines = 0
    sides = (lines(Path(side), encoding, say) for side in (source, target))
    for left, right in zip_longest(*sides):
        source_lines += left is not None
        target_lines += right is not None
        if source_lines == target_lines:
            yield Row({"source": left, "target": right}, f"{source}:{source_lines}")
    if source_lines != target_lines:
        raise InputError(
            _(
                "{first} has {lines:,} lines, {second} {others:,}: line by line they must belong "
                "together",
                first=source,
                lines=source_lines,
                second=target,
                others=target_lines,
            )
        )
    if not source_lines:
        raise _no_rows(source, _("one at least"))


def _no_rows(path: str | Path, needed: Message) -> InputError:
    """Return the error of a file or folder without a row."""
    return InputError(_("{path}: holds no rows; needed: {needed}", path=path, needed=needed))


def lines(path: Path, encoding: str | None = None, say: Say | None = None) -> Iterator[str]:
    """Yield the decoded lines of a file without their line ends."""
    yield from File(path, encoding, say or Once()).lines()


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file. Raises InputError if it cannot be opened."""
    try:
        file = open(path, "rb")  # noqa: SIM115  # closed below
    except FileNotFoundError:
        raise InputError(_("{path}: No such file or directory", path=path)) from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    with file:
        yield file


def text(
    path: Path,
    encoding: str | None = None,
    say: Say | None = None,
    neighbours: Neighbours | None = None,
) -> Iterator[Row]:
    """Read a row per line of a text file, including empty lines."""
    return _text(File(path, encoding, say or Once(), neighbours))


def _text(file: File) -> Iterator[Row]:
    for number, line in enumerate(file.lines(), 1):
        yield Row({"text": line}, f"{file}:{number}")


def _jsonl(file: File) -> Iterator[Row]:
    """Read a JSON object per line; blank lines are skipped."""
    for number, line in enumerate(file.lines(), 1):
        source = f"{file}:{number}"
        if not line.strip():
            continue
        try:
            columns = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = _("not JSON ({error}): put one object in each line", error=str(error))
            raise RowError(source, said) from None
        if not isinstance(columns, dict):
            raise RowError(source, f"an object is needed, {{…}}, not a {type(columns).__name__}")
        yield Row(columns, source)


class Dialect(NamedTuple):
    """How the cells of a table are written."""

    separator: str
    quoted: bool = True  # quotation marks enclose cells; else they are characters
    padded: bool = False  # a blank behind each separator is not of the cell
    strict: bool = True

    def reader(self, lines: Iterable[str]) -> Any:  # csv.reader: its type has no name
        return csv.reader(
            lines,
            delimiter=self.separator,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            skipinitialspace=self.padded,
            strict=self.strict and self.quoted,
        )


SEPARATORS = {
    ",": _("commas"),
    "\t": _("tabs"),
    ";": _("semicolons"),
    "|": _("vertical bars"),
}


def _table(usual: str, file: File) -> Iterator[Row]:
    """Read a row per line after the header line; `usual` separates the cells unless others do."""
    csv.field_size_limit(LONGEST_LINE)
    probe, lines = _probed(line + "\n" for line in file.lines())
    told = _told_separator(probe)
    dialect = _dialect(probe, told or usual, usual)
    if dialect.separator != usual:
        named = SEPARATORS.get(dialect.separator, repr(dialect.separator))
        file.say(_("{file}: {separators} separate its columns", file=file, separators=named))
    if dialect.quoted and usual == dialect.separator == "\t":
        file.say(f"{file}: quotation marks enclose its cells, as in its header")
    if told is not None:  # an empty line in its place keeps the numbers of the lines
        lines = chain(["\n"], islice(lines, 1, None))
    yield from _table_rows(file, dialect.reader(lines))


def _probed(lines: Iterator[str]) -> tuple[list[str], Iterator[str]]:
    """Return the first lines, and all lines; an error comes behind the lines before it."""
    probe: list[str] = []
    failed: list[InputError] = []
    try:
        probe.extend(islice(lines, 1))
        while probe and len(probe) < PROBED and (line := next(lines, None)) is not None:
            probe.append(line)
    except InputError as error:
        failed.append(error)

    def every() -> Iterator[str]:
        yield from probe
        if failed:
            raise failed[0]
        yield from lines

    return probe, every()


def _told_separator(probe: Sequence[str]) -> str | None:
    """Return the separator that a first line `sep=;` names, as Excel writes it."""
    first = probe[0].rstrip("\r\n") if probe else ""
    found = re.fullmatch(r'"?sep=(.)"?', first)
    return found[1] if found else None


def _dialect(probe: Sequence[str], usual: str, named: str) -> Dialect:
    """Return how a table is written, from its first lines.

    A separator counts if it is in the header. Of several the first one counts that gives every
    row as many cells. `named` is the separator that the name of the file stands for.
    """
    every = [_fitted(one, probe, named) for one in dict.fromkeys([usual, *SEPARATORS])]
    found = [(dialect, rows) for dialect, rows in every if rows and len(rows[0]) > 1]
    even = [dialect for dialect, rows in found if len({len(row) for row in rows}) == 1]
    if even:
        return even[0]
    if not found or found[0][0].separator == usual:
        return every[0][0]
    return max(found, key=lambda one: len(one[1][0]))[0]


def _fitted(separator: str, probe: Sequence[str], named: str) -> tuple[Dialect, list[list[str]]]:
    """Return how a table with this separator is written, and its first rows."""
    dialect = Dialect(separator, quoted=(separator, named) != ("\t", "\t"))
    rows = _first_rows(dialect, probe)
    if rows and not dialect.quoted and all(re.fullmatch(r'\s*".*"\s*', n) for n in rows[0]):
        dialect = dialect._replace(quoted=True)
        rows = _first_rows(dialect, probe)
    if not rows:  # blanks behind a quotation mark
        dialect = dialect._replace(strict=False)
        rows = _first_rows(dialect, probe)
    others = rows[0][1:] if rows else []
    if dialect.quoted and others and all(name.startswith(" ") for name in others):
        dialect = dialect._replace(padded=True)
        rows = _first_rows(dialect, probe)
    return dialect, rows


def _first_rows(dialect: Dialect, probe: Sequence[str]) -> list[list[str]]:
    """Return the rows of the first lines that can be read, without one that may go on."""
    rows: list[list[str]] = []
    reader = dialect.reader(iter(probe))
    while True:
        try:
            cells = next(reader, None)
        except csv.Error:
            return rows
        if cells is None:
            return rows
        if cells and not (not rows and _told_separator(probe) and reader.line_num == 1):
            rows.append(cells)


def _table_rows(file: File, reader: Any) -> Iterator[Row]:
    """Read the header and the rows behind it."""
    header: list[str] | None = None
    while True:
        source = f"{file}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise RowError(source, _explain(error)) from None
        if cells is None:
            return
        if not cells:  # an empty line
            continue
        if header is None:
            header = _header(cells, source)
            continue
        if len(cells) > len(header) and not any(map(str.strip, cells[len(header) :])):
            cells = cells[: len(header)]
        if len(cells) != len(header):
            said: str = _(
                "{cells} cells, the header has {columns}: every row needs a cell for each column",
                cells=len(cells),
                columns=len(header),
            )
            if len(cells) > len(header):
                said += _("; a text that holds the separator stands in double quotes")
            raise RowError(source, said)
        yield Row(dict(zip(header, cells, strict=True)), source)


def _header(cells: list[str], source: str) -> list[str]:
    """Return the names of the columns without blanks around them. Raises RowError."""
    header = [name.strip(INVISIBLE) for name in cells]
    while len(header) > 1 and not header[-1]:
        header.pop()
    repeated = sorted(name for name, count in Counter(header).items() if count > 1)
    if repeated:
        named = ", ".join(repeated)[:LONGEST_NAMES] or _("nothing")
        raise RowError(source, _("the header names {names} twice: rename one", names=named))
    return header


def _explain(error: csv.Error) -> str:
    """Turn an error of the csv module into one that names the fix."""
    if "new-line" in str(error):
        return _("a carriage return inside a line: end the lines with LF or CRLF")
    return _(
        "{error}: a quotation mark is not closed, or not doubled inside quotes", error=str(error)
    )


def _trees(file: File) -> Iterator[Row]:
    """Read a row per sentence of a CoNLL-U file."""
    for number, found in conllu(file.lines(), str(file)):
        yield Row(found, f"{file}:{number}")


def _sentences(file: File) -> Iterator[Row]:
    """Read a row per sentence of a column file."""
    for number, found in columns(file.lines(), str(file), file.say):
        yield Row(found, f"{file}:{number}")


def _folder(folder: File) -> Iterator[Row]:
    """Read the files LABEL/*.txt of a folder, a row per file. Hidden ones are left out."""
    found = {*folder.path.rglob("*"), *folder.path.glob("*/*")}  # the latter follows links
    visible = [path for path in found if not is_hidden(path, folder.path)]
    every = [path for path in visible if path.is_file()]
    files = [path for path in every if is_text(path) and path.parent.parent == folder.path]
    if files:
        wanted = _("LABEL/*.txt are, a text per file")
        say_unread(folder.path, {*every} - {*files}, wanted, folder.say)
    files.sort(key=lambda f: (f.parent, _numbered(f.name)))
    near = neighbours(files)
    for path in files:
        file = File(path, folder.encoding, folder.say, near[path.parent])
        yield Row({"text": "\n".join(file.lines()), "label": path.parent.name}, str(path))


def neighbours(files: Iterable[Path]) -> dict[Path, Neighbours]:
    """Return, for each folder that holds some of the files, these files."""
    there: dict[Path, list[Path]] = {}
    for file in files:
        there.setdefault(file.parent, []).append(file)
    return {folder: Neighbours(folder, own) for folder, own in there.items()}


def lines_only(row: Row) -> Message | None:
    """Return the cure if a row that lacks a column is a line of a .txt file, else None."""
    if {*row} != {"text"} or not re.search(r"\.txt(\.gz)?:\d+$", row.source, re.IGNORECASE):
        return None
    return _("a .txt file holds lines of text alone: call a table .csv, a column file .conll")


def is_text(path: Path) -> bool:
    """Return whether the name of a file is that of a text, which may be gzip'ed."""
    return path.name.lower().endswith((".txt", ".txt.gz"))


def is_hidden(path: Path, folder: Path) -> bool:
    """Return whether a file, or a folder that it is in, begins with a dot."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def say_unread(folder: Path, paths: set[Path], wanted: str, say: Say) -> None:
    """Say how many files of a folder are not read, and which ones are."""
    if not paths:
        return
    first = os.fsencode(min(paths).relative_to(folder)).decode("utf-8", "backslashreplace")
    count = _("1 file is not read ({name})", name=first)
    if len(paths) > 1:
        count = _("{count:,} files are not read (such as {name})", count=len(paths), name=first)
    say(_("{folder}: {count}: {wanted}", folder=folder, count=count, wanted=wanted))


def _numbered(name: str) -> list[tuple[int, str]]:
    """Return a sort key by the numbers in a name: 9_7.txt comes before 10_2.txt."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def sentences(path: Path, encoding: str | None = None, say: Say | None = None) -> Iterator[Row]:
    """Read a row per sentence of a column file."""
    return _sentences(File(path, encoding, say or Once()))


READERS: dict[str, Callable[[File], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".csv": partial(_table, ","),
    ".tsv": partial(_table, "\t"),
    ".txt": _text,
    ".conllu": _trees,
    ".conll": _sentences,
    ".bio": _sentences,
}
