"""Bytes become lines of text: compressed files, encodings, byte order marks and line ends.

UTF-8 is what is expected. Where something else can be told from the bytes, it is read and said:
gzip under any name, UTF-16 and UTF-32, other encodings by charset-normalizer, CR as a line end.
"""

from __future__ import annotations

import codecs
import gzip
import io
import logging
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from zoo.errors import InputError, RowError
from zoo.messages import Message, _

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

Say = Callable[[str], None]

log = logging.getLogger("zoo")

LONGEST_LINE = 1 << 24  # bytes; a longer line is taken for a file without line ends
MOST_UNPACKED = (
    1 << 26
)  # bytes; from there on, gzip'ed text must not grow more than MOST_GROWTH times
MOST_GROWTH = 200
GZIP = b"\x1f\x8b"  # the first bytes of gzip data
SAMPLE = 1 << 16  # bytes from which an encoding is told
CERTAIN = 30  # letters outside ASCII that it takes to tell an encoding
MOST_NARROW = 0.5  # share of half-width katakana among the letters outside ASCII
MOST_MARKS = 0.05  # share of words that begin or end with a sign that no word begins or ends with
JAPANESE = {"cp932": (3, 0.3), "euc_jp": (6, 0.4)}  # distinct kana, and their share, that show it
BEHIND, BEFORE = "ะาำ", "เแโใไ"  # vowels of Thai behind their consonant, and before it
PROPOSED = 4  # encodings that an error names
MARGIN = 0.05  # encodings whose coherence is that close cannot be told apart

BYTE_ORDER_MARKS = {  # UTF-32 begins like UTF-16, so it comes first
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
LATIN = ("cp1252", "cp1250", "cp1254", "cp1257")
CYRILLIC = ("cp1251", "koi8_r")
OTHERS = ("cp1253", "cp1255", "cp1256", "cp874")
EAST_ASIAN = ("cp932", "euc_jp", "gb18030", "big5", "cp949")
LEGACY = LATIN + CYRILLIC + OTHERS + EAST_ASIAN  # each contains ASCII
CURE = _("save the file as UTF-8, or set data.encoding to what it is")
NO_TEXT = {  # the first bytes of a file -> what it is
    b"PK\x03\x04": _("a zip archive or a spreadsheet, such as .xlsx"),
    b"\xd0\xcf\x11\xe0": _("a spreadsheet or a document of Microsoft Office"),
    b"BZh91AY&SY": _("compressed by {program}", program="bzip2"),
    b"\xfd7zXZ\x00": _("compressed by {program}", program="xz"),
    b"\x28\xb5\x2f\xfd": _("compressed by {program}", program="zstd"),
    b"PAR1\x15": _("a Parquet file"),
    b"SQLite format 3\x00": _("a database of SQLite"),
    b"%PDF-": _("a PDF document"),
}


class Once:
    """Logs each line once, however often a file is read."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def __call__(self, line: str) -> None:
        if line not in self.said:
            self.said.add(line)
            log.info("%s", line)


def check_encoding(name: str | None) -> None:
    """Raise InputError for an encoding that Python does not know or that is not of text."""
    if name is None:
        return
    try:
        known = "a".encode(name).decode(name) == "a"
    except (LookupError, UnicodeError):
        known = False
    if not known:
        examples = "utf-8, utf-16, cp1252, cp932 (Shift-JIS), gb18030"
        raise InputError(
            _(
                "data.encoding={name}: no such encoding; there are, among others: {examples}",
                name=name,
                examples=examples,
            )
        )


class Neighbours:
    """The text files of one folder: they show the encoding of a file too short to show its own."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self.name = str(folder)
        self.files = files

    @cached_property
    def sample(self) -> list[bytes]:
        """The lines that are neither ASCII nor UTF-8, of files that hold no line of UTF-8."""
        found: list[bytes] = []
        size = 0
        for path in self.files:
            try:
                with path.open("rb") as file:
                    lines = [line for line in file.read(SAMPLE).splitlines() if not line.isascii()]
            except OSError:
                continue
            if not any(b"\0" in line or _utf8_error(line) is None for line in lines):
                found += lines
                size += sum(map(len, lines))
            if size >= SAMPLE:
                break
        return found

    @cached_property
    def told(self) -> tuple[str, ...]:
        """The encodings that fit the sample."""
        return _fitting(b"\n".join(self.sample)) if self.sample else ()

    def fitting(self, text: bytes, own: tuple[str, ...]) -> tuple[str, ...]:
        """Return the encodings that fit a file of the folder; `own` are told from it alone.

        Two bytes a character leave few texts that can be decoded: such an encoding goes first.
        """
        if len(self.told) == 1 and (len(own) != 1 or self.told[0] in EAST_ASIAN):
            with suppress(UnicodeDecodeError):
                if _is_plausible(text.decode(self.told[0])):
                    return self.told
        return own


def is_plain_utf8(path: Path) -> bool:
    """Return whether a file begins as UTF-8 without a byte order mark, as Excel does not write it.

    A pipe, of which nothing may be read twice, and a folder count as such.
    """
    if not path.is_file():
        return True
    with path.open("rb") as file:
        head = file.read(SAMPLE)
    if head.startswith(GZIP):
        return True  # what gzip packs is not for Excel
    if head.startswith(codecs.BOM_UTF8) or _wide(head) is not None:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def decoded(
    file: IO[bytes],
    name: str,
    encoding: str | None = None,
    say: Say | None = None,
    neighbours: Neighbours | None = None,
) -> Iterator[str]:
    """Yield the lines of an open file without their line ends.

    Without an `encoding` it is UTF-8, or what can be told from the bytes; `say` is called with a
    line about each such finding. The `neighbours` of a file decide where its own bytes are too few,
    and the line is then about their folder. Raises RowError for a line that cannot be decoded or is
    too long, and for broken gzip data. Raises InputError for a file that is no text.
    """
    say = say or Once()
    source, encoding = _prepared(file, name, encoding, say)
    is_ascii = True  # all lines so far
    for number in count(1):
        place = f"{name}:{number}"
        try:
            raw = source.readline(LONGEST_LINE + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise RowError(place, f"broken gzip data: {error}") from None
        except UnicodeDecodeError as error:
            raise RowError(place, _not_text_in(error.encoding, error.reason)) from None
        if not raw:
            return
        if number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if len(raw) > LONGEST_LINE:
            size = f"{LONGEST_LINE >> 20} MB"
            said = _("a line of more than {size}: put line ends between the rows", size=size)
            raise RowError(place, said)
        if b"\0" in raw:
            cure = _("this is not a text file, or it is UTF-16: save it as UTF-8")
            raise RowError(place, _("a NUL byte: {cure}", cure=cure))
        if encoding is None and is_ascii and not raw.isascii():
            is_ascii = False
            encoding = _legacy(raw, source, name, place, say, neighbours)
        yield _text(raw, encoding or "utf-8", place).rstrip("\r\n")


def _prepared(
    file: IO[bytes], name: str, encoding: str | None, say: Say
) -> tuple[IO[bytes], str | None]:
    """Return a decompressed stream with LF as its line ends, and the lines' encoding if known."""
    source = _peekable(file)
    is_named_gzip = name.lower().endswith(".gz")
    is_gzip = source.peek(2).startswith(GZIP)
    if is_gzip and not is_named_gzip:
        say(_("{name}: is gzip'ed, although its name does not end in .gz", name=name))
    if is_gzip or is_named_gzip:
        source = io.BufferedReader(cast(Any, _Gzip(fileobj=cast(Any, _Counted(source)), mode="rb")))
    try:
        head = source.peek(SAMPLE)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RowError(f"{name}:1", f"broken gzip data: {error}") from None
    for first, kind in NO_TEXT.items():
        if head.startswith(first):
            raise InputError(
                _("{name}: {kind}, not text: save it as .csv or .jsonl", name=name, kind=kind)
            )
    if encoding is None:
        encoding = _wide(head)
        if encoding is not None:
            say(_("{name}: is read as {encoding}", name=name, encoding=encoding))
    if encoding is not None and "\n".encode(encoding) != b"\n":  # a byte is no character
        return _recoded(source, encoding, "utf-8"), None
    if b"\r" in head[:-1] and b"\n" not in head:
        say(_("{name}: CR ends its lines", name=name))
        return _recoded(source, "latin-1", "latin-1"), encoding
    return source, encoding


class _Counted:
    """A stream that counts the bytes that were read from it."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source = source
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        found = self.source.read(size)
        self.size += len(found)
        return found

    def seekable(self) -> bool:
        return self.source.seekable()

    def seek(self, place: int, whence: int = 0) -> int:
        return self.source.seek(place, whence)


class _Gzip(gzip.GzipFile):
    """A gzip'ed stream that ends when it grows as no text does."""

    unpacked = 0

    def read(self, size: int | None = -1) -> bytes:
        """Read at most `size` bytes. Raises BadGzipFile for a file made to fill a machine."""
        found = super().read(size)
        self.unpacked += len(found)
        packed = cast(_Counted, self.fileobj).size
        if self.unpacked > MOST_UNPACKED and self.unpacked > MOST_GROWTH * packed:
            raise gzip.BadGzipFile(f"it grows more than {MOST_GROWTH} times, as no text does")
        return found


def _peekable(file: IO[bytes]) -> io.BufferedReader:
    """Return a stream whose next bytes can be seen before they are read."""
    return cast(io.BufferedReader, file if hasattr(file, "peek") else io.BufferedReader(file))


def _wide(head: bytes) -> str | None:
    """Return the encoding that the first bytes of a file show, None for one like ASCII."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding
    if b"\x1b$B" in head or b"\x1b$@" in head:
        return "iso2022_jp"
    zeros = {"utf-16-be": head[::2].count(0), "utf-16-le": head[1::2].count(0)}
    encoding = max(zeros, key=lambda name: zeros[name])
    fewest = max(2, len(head) // 100)  # letters of ASCII: line ends at least
    if zeros[encoding] < max(fewest, 2 * min(zeros.values())):  # the low byte may be zero, too
        return None
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None
    return encoding if all(c.isprintable() or c.isspace() for c in text) else None


class _Recoder(io.RawIOBase):
    """A stream in another encoding, with LF as its line ends."""

    def __init__(self, source: IO[bytes], encoding: str, target: str) -> None:
        self.source = source
        self.target = target
        self.encoding = encoding
        decoder = codecs.getincrementaldecoder(encoding)()
        self.decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self.waiting = b""
        self.failed: UnicodeDecodeError | None = None
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer. Raises UnicodeDecodeError, after what stands before the error."""
        while not self.waiting and not self.ended:
            if self.failed is not None:
                raise self.failed
            raw = self.source.read1(SAMPLE)  # type: ignore[attr-defined]
            self.ended = not raw
            try:
                text = self.decoder.decode(raw, final=self.ended)
            except UnicodeDecodeError as error:
                self.failed = error
                self.ended = False
                text = error.object[: error.start].decode(self.encoding, "ignore")
                text = text.replace("\r\n", "\n").replace("\r", "\n")
            self.waiting = text.encode(self.target)
        size = min(len(buffer), len(self.waiting))
        buffer[:size] = self.waiting[:size]
        self.waiting = self.waiting[size:]
        return size


def _recoded(source: IO[bytes], encoding: str, target: str) -> IO[bytes]:
    return io.BufferedReader(_Recoder(source, encoding, target), SAMPLE)


def _legacy(
    raw: bytes,
    source: IO[bytes],
    name: str,
    place: str,
    say: Say,
    neighbours: Neighbours | None,
) -> str | None:
    """Return the encoding of the first line that is not ASCII, None for UTF-8.

    It is told from this line and those behind it, else from the file's neighbours too. Raises
    RowError if it cannot be told.
    """
    error = _utf8_error(raw)
    if error is None:
        return None
    sample = []
    size = 0
    for line in [raw, *_ahead(source).split(b"\n")[:-1]]:
        if not line.isascii() and size < SAMPLE:
            sample.append(line)
            size += len(line)
    found: tuple[str, ...] = ()
    if not any(_utf8_error(line) is None for line in sample):  # else it is UTF-8 with a mistake
        found = _fitting(b"\n".join(sample))
        if neighbours is not None:
            found = neighbours.fitting(b"\n".join(sample), found)
    if len(found) == 1:
        said = _(
            "{name}: is read as {encoding}, which is not UTF-8; data.encoding names another",
            name=name if neighbours is None else neighbours.name,
            encoding=found[0],
        )
        say(said)
        return found[0]
    said = _not_text_in("UTF-8", _byte(raw, error))
    if found:
        said += _(", here perhaps {encodings}", encodings=" / ".join(found[:PROPOSED]))
    raise RowError(place, said)


def _not_text_in(encoding: str, reason: str) -> Message:
    """Return an error message: bytes are not text in an encoding, why, and the cure."""
    return _("not {encoding} ({reason}): {cure}", encoding=encoding, reason=reason, cure=CURE)


def _byte(raw: bytes, error: UnicodeDecodeError) -> Message:
    """Return which byte of a line cannot be decoded."""
    value = f"0x{raw[error.start]:02x}"
    return _("byte {value} at column {number}", value=value, number=error.start + 1)


def _utf8_error(raw: bytes) -> UnicodeDecodeError | None:
    """Return why bytes are not UTF-8, None if they are."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return error
    return None


def _ahead(source: IO[bytes]) -> bytes:
    """Return some of what comes next, without taking it; b"" where that would mean to wait."""
    if source.seekable():
        place = source.tell()
        found = source.read(16 * SAMPLE)
        source.seek(place)
        return found
    recoder = getattr(source, "raw", None)
    if isinstance(recoder, _Recoder) and recoder.source.seekable():
        return cast(io.BufferedReader, source).peek(SAMPLE)
    return b""


@lru_cache(64)
def _fitting(sample: bytes) -> tuple[str, ...]:
    """Return the one encoding of a sample; several, or none, if it cannot be told.

    Encodings of Latin letters give the same coherence in many texts, so a MARGIN decides; those
    that give the same text count as one.
    """
    if japanese := _japanese(sample):
        return (japanese,)
    from charset_normalizer import from_bytes  # not needed to read UTF-8

    matches = [*from_bytes(sample, cp_isolation=[*LEGACY], preemptive_behaviour=False)]
    matches = [match for match in matches if _is_plausible(str(match))]  # the best one first
    if not matches:
        return ()
    best = matches[0]
    certain = _others(sample) >= CERTAIN
    if best.encoding not in LATIN:
        words = {*re.split(rb"[\s,;|\"]+", sample)}  # a label tells once, in however many rows
        if certain and _others(b"".join(words)) >= CERTAIN:
            return (best.encoding,)
        certain = False
        wide = [name for name in EAST_ASIAN if _is_decodable(sample, name)]
        proposed = tuple(dict.fromkeys([*wide, best.encoding]))
        if len(proposed) > 1:
            return proposed[:PROPOSED]
    top = max(match.coherence for match in matches)
    close = [match for match in matches if match.coherence >= top - MARGIN]
    names = sorted((_first([match, *match.submatch]) for match in close), key=LEGACY.index)
    if len(names) > 1 and LATIN[0] not in names and names[0] in LATIN:
        found = {each.encoding for match in matches for each in (match, *match.submatch)}
        names = [*[name for name in LATIN[:1] if name in found], *names]
    if certain or len(names) > 1:
        return tuple(names)
    return (*names, *[name for name in LEGACY[:3] if name not in names])


def _others(text: bytes) -> int:
    """Return the number of bytes outside ASCII."""
    return sum(byte > 127 for byte in text)


def _is_decodable(sample: bytes, encoding: str) -> bool:
    """Return whether a sample is text in an encoding."""
    try:
        sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_plausible(text: str) -> bool:
    """Return whether a text may be one: Cyrillic bytes read as others are not.

    As Shift-JIS they are half-width katakana, as Thai their words begin or end with wrong vowels.
    """
    others = [c for c in text if c > "\x7f"]
    narrow = sum("\uff61" <= c <= "\uff9f" for c in others)
    words = [word for word in text.split() if not word.isascii()]
    marks = sum(
        unicodedata.category(word[0]) == "Mn" or word[0] in BEHIND or word[-1] in BEFORE
        for word in words
    )
    return narrow <= MOST_NARROW * len(others) and marks <= MOST_MARKS * len(words)


def _japanese(sample: bytes) -> str | None:
    """Return the encoding in which a sample has so many kana that it is Japanese, else None."""
    for encoding, (fewest, share) in JAPANESE.items():
        try:
            others = [c for c in sample.decode(encoding) if c > "\x7f"]
        except UnicodeDecodeError:
            continue
        kana = [c for c in others if "\u3041" <= c <= "\u30fa"]
        if len({*kana}) >= fewest and len(kana) >= share * len(others):
            return encoding
    return None


def _first(matches: Iterable[CharsetMatch]) -> str:
    """Return the most common encoding of those that give the same text."""
    return min((match.encoding for match in matches), key=LEGACY.index)


def _text(raw: bytes, encoding: str, place: str) -> str:
    """Decode one line. Raises RowError."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        shown = "UTF-8" if encoding == "utf-8" else encoding
        raise RowError(place, _not_text_in(shown, _byte(raw, error))) from None
