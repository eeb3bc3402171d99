"""Bring the catalogues up to date with the sources: `python -m zoo.messages`.

It reads what stands in `_("…")`, adds what is new to each zoo.po without a translation, drops what
is gone, and compiles zoo.mo. Whoever translates edits zoo.po and runs it again.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from zoo.messages import DOMAIN, FOLDER, NAMES

ROOT = FOLDER.parents[1]
SOURCES = "zoo", "tasks"
DATE = datetime(2026, 1, 1, tzinfo=UTC)  # always the same: equal catalogues are equal files


def main() -> int:
    """Update and compile each catalogue; returns 1 if a message has no translation."""
    missing = 0
    for language in NAMES:
        place = FOLDER / language / "LC_MESSAGES"
        catalogue = updated(place / f"{DOMAIN}.po", language)
        place.mkdir(parents=True, exist_ok=True)
        for name, write in ((f"{DOMAIN}.po", po), (f"{DOMAIN}.mo", mo)):
            (place / name).write_bytes(write(catalogue))
        empty = [message.id for message in catalogue if message.id and not message.string]
        for text in empty:
            print(f"{language}: no translation of {text!r}")
        missing += len(empty)
        print(f"{language}: {len(catalogue)} messages")
    return 1 if missing else 0


def messages() -> Iterator[tuple[str, str]]:
    """Yield the messages of the sources, each with the file where it stands."""
    for top in SOURCES:
        for path in sorted((ROOT / top).rglob("*.py")):
            for _, found, *_ in extract_from_file("python", path, keywords={"_": None}):
                assert isinstance(found, str)
                yield found, path.relative_to(ROOT).as_posix()


def updated(path: Path, language: str) -> Catalog:
    """Return a catalogue of the messages of the sources, with the translations of a file."""
    known = {}
    if path.exists():
        known = {message.id: message.string for message in read(path, language)}
    catalogue = Catalog(
        locale=language,
        header_comment=f"# Messages of sequence-zoo in {NAMES[language]}.",
        project="sequence-zoo",
        version="",
        msgid_bugs_address="",
        creation_date=DATE,
        revision_date=DATE,
        last_translator="",
        language_team="",
        fuzzy=False,
    )
    for text, source in messages():
        catalogue.add(text, known.get(text, ""), locations=[(source, 0)])
    return catalogue


def read(path: Path, language: str) -> Catalog:
    """Return the catalogue in a file."""
    with path.open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN, abort_invalid=True)


def po(catalogue: Catalog) -> bytes:
    """Return a catalogue as people edit it."""
    file = io.BytesIO()
    write_po(file, catalogue, width=100, omit_header=False, include_lineno=False)
    return file.getvalue()


def mo(catalogue: Catalog) -> bytes:
    """Return a catalogue as gettext reads it."""
    file = io.BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
