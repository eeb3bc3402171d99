"""Message catalogs and CLDR's annotations: texts of many languages, each with its locale.

    locale/sv/LC_MESSAGES/django.mo    gettext: the translated messages of a program
    annotations/sv/annotations.json    annotations: names and keywords of symbols (Unicode CLDR)

They are read from a folder: as they lie there, and inside wheels (PyPI) and .tgz archives (npm).
Nothing is unpacked, and nothing of a package is run.
"""

from __future__ import annotations

import html
import io
import json
import logging
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from babel.core import get_global, parse_locale
from babel.messages.mofile import read_mo

from zoo.errors import InputError

log = logging.getLogger("zoo")

GETTEXT = re.compile(r"(?:^|/)(?P<locale>[^/]+)/LC_MESSAGES/[^/]+\.mo$")
ANNOTATIONS = re.compile(r"(?:^|/)annotations/(?P<locale>[^/]+)/annotations\.json$")
# What is no word of a language: tags, placeholders of %, {} and $, and a single & (a shortcut).
NO_TEXT = re.compile(
    r"<[^>]*>|%\([^)]*\)[#0+-]?[\d.]*[a-z]|%[#0+-]?[\d.]*[a-z]|\{[^{}]*\}|\$\w+|__\w+__", re.I
)
FEWEST_LETTERS = 3  # of a text
MODIFIERS = {"latin": "Latn", "cyrillic": "Cyrl"}  # of a locale: sr@latin
MACRO = {"no": "nb"}  # a language that stands for one of its members
BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error)  # of an archive
FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error, *BROKEN)


class Message(NamedTuple):
    """A text, the locale that its catalog is of, and where it stands."""

    locale: str
    text: str
    kind: str  # "gettext" or "annotations"
    source: str


def messages_of(folder: Path) -> Iterator[Message]:
    """Yield the texts of all catalogs in a folder, file by file in the order of their names.

    A message that is left in English is skipped. So is a catalog that cannot be read: a warning
    names it. Raises InputError for a folder without catalogs.
    """
    if not folder.is_dir():
        raise InputError(f"data.catalogs={folder}: no such folder")
    found = False
    for name, content in _files(folder):
        for kind, pattern, read in (
            ("gettext", GETTEXT, _gettext),
            ("annotations", ANNOTATIONS, _annotations),
        ):
            if not (match := pattern.search(name)):
                continue
            try:
                texts = [*read(content())]
            except FAULTS as error:
                log.warning("%s is left out: no catalog of messages: %s", name, error)
                continue
            found = True
            for text in texts:
                if sum(map(str.isalpha, cleaned := clean(text))) >= FEWEST_LETTERS:
                    yield Message(match["locale"], cleaned, kind, name)
    if not found:
        cure = "put wheels, npm archives or folders with LOCALE/LC_MESSAGES/*.mo there"
        raise InputError(f"data.catalogs={folder}: no message catalogs: {cure}")


def clean(text: str) -> str:
    """Return a message without tags, placeholders and shortcuts.

    clean("Delete <b>%(name)s</b>?")  ->  "Delete ?"
    """
    text = html.unescape(NO_TEXT.sub(" ", text)).replace("&", "")
    return " ".join(text.split())


@cache
def language_and_script(name: str) -> tuple[str, str] | None:
    """Return language and script of a locale's name, None if it names no locale.

    language_and_script("zh-tw")  ->  ("zh", "Hant")
    language_and_script("sr")     ->  ("sr", "Cyrl"), its most frequent script
    """
    try:
        language, territory, script, _, *rest = parse_locale(name.replace("-", "_"))
    except ValueError:
        return None
    current = get_global("language_aliases").get(language, language)  # sh: sr_Latn
    language, _, script_of_alias = current.partition("_")
    likely = get_global("likely_subtags")
    script = script or MODIFIERS.get("".join(filter(None, rest))) or script_of_alias
    if not script:
        longer = likely.get(f"{language}_{territory}") or likely.get(language)
        script = parse_locale(longer)[2] if longer else None
    return MACRO.get(language, language), script or ""


def _gettext(content: bytes) -> Iterator[str]:
    """Yield the translations of a compiled catalog that differ from their message."""
    for message in read_mo(io.BytesIO(content)):
        if not message.id:
            continue  # the header
        originals = message.id if isinstance(message.id, (list, tuple)) else (message.id,)
        texts = message.string if isinstance(message.string, (list, tuple)) else (message.string,)
        yield from (text for text in texts if text and text not in originals)


def _annotations(content: bytes) -> Iterator[str]:
    """Yield the name of each symbol, and its keywords as one text."""
    symbols = json.loads(content)["annotations"].get("annotations", {})  # some are empty
    for symbol in symbols.values():
        yield from symbol.get("tts", [])
        yield ", ".join(symbol.get("default", []))


def _files(folder: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield name and content of each file below a folder and in its archives."""
    for path in sorted(folder.rglob("*")):
        where = path.relative_to(folder).as_posix()
        try:
            if path.suffix.lower() in (".whl", ".zip"):
                with zipfile.ZipFile(path) as wheel:
                    for name in sorted(wheel.namelist()):
                        yield f"{where}/{name}", partial(wheel.read, name)
            elif path.suffix.lower() == ".tgz":
                with tarfile.open(path) as archive:
                    for member in archive:
                        yield f"{where}/{member.name}", partial(_member, archive, member)
            elif path.is_file():
                yield where, path.read_bytes
        except BROKEN as error:
            raise InputError(f"{path}: no archive that can be read: {error}") from error


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""
