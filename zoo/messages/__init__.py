"""Messages in the user's language: English in the sources, catalogues of gettext beside them.

A message is English wherever it is kept, compared or raised: in reports, in JSON, in exceptions. It is
translated where people read it, on the command line and in notebooks; what has no translation stays
English. `python -m zoo.messages` brings the catalogues up to date with the sources.
"""

from __future__ import annotations

import gettext
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent  # LANGUAGE/LC_MESSAGES/zoo.po and zoo.mo
DOMAIN = "zoo"
NAMES = {"ja": "日本語", "zh_TW": "繁體中文"}  # each language's own name, by its folder
LOCALES = "LC_ALL", "LC_MESSAGES", "LANG"  # the first one that is set counts
TRADITIONAL = "hant", "tw", "hk", "mo"  # scripts and regions of Chinese in traditional characters


class Message(str):
    """An English text that remembers its template and its values, so that it can be translated."""

    template: str
    values: Mapping[str, Any]

    def __new__(cls, template: str, values: Mapping[str, Any]) -> Message:
        made = super().__new__(cls, template.format(**values))
        made.template, made.values = template, values
        return made

    def __add__(self, other: str) -> Message:
        """Return a message with another text, or message, behind it."""
        return Message("{first}{second}", {"first": self, "second": other})

    def __radd__(self, other: str) -> Message:
        """Return a message with another text in front of it."""
        return Message("{first}{second}", {"first": other, "second": self})

    def __getnewargs__(self) -> tuple[str, Mapping[str, Any]]:  # type: ignore[override]
        """Return what a copy or a pickle is made of."""
        return self.template, dict(self.values)


def _(template: str, /, **values: Any) -> Message:
    """Return a message; `{name}` in its template is replaced by a value, as `str.format` does.

    Templates are literals, so that they are found in the sources. A value may be a message, too.
    """
    return Message(template, values)


def listed(parts: Iterable[str], between: str = ", ") -> Message:
    """Return a message that lists others, with commas or another text between them."""
    values = {f"part{number}": part for number, part in enumerate(parts)}
    return Message(between.join(f"{{{name}}}" for name in values), values)


def message_of(error: BaseException) -> str:
    """Return what an error says, as a message if it was raised with one."""
    first = error.args[0] if len(error.args) == 1 else None
    return first if isinstance(first, Message) else str(error)


def translated(text: str) -> str:
    """Return a message in the user's language; any other text, and what has no translation, as it is."""
    name = language()
    return str(text) if name is None else _translate(text, _catalogue(name))


def failed(said: str | BaseException) -> int:
    """Print what went wrong as one line on standard error; return the exit status 2."""
    line = said if isinstance(said, str) else message_of(said)
    print(" ".join(translated(_("error: {line}", line=line)).split()), file=sys.stderr)
    return 2


class Formatter(logging.Formatter):
    """Format log records in the user's language."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record whose message, or whose arguments, are messages."""
        said = copy(record)
        said.msg, said.args = text_of(record), ()
        return super().format(said)


def text_of(record: logging.LogRecord) -> str:
    """Return what a log record says, in the user's language."""
    if isinstance(record.msg, Message):
        return translated(record.msg)
    if isinstance(record.args, tuple) and record.args:
        return str(record.msg) % tuple(_or_as_it_is(value) for value in record.args)
    return record.getMessage()


def language() -> str | None:
    """Return the folder of the user's language, None for English.

    As in GNU gettext, `LANGUAGE` is a list of languages with colons between them, and the locales
    C and POSIX are English whatever it says. A terminal that lacks the characters gets English.
    """
    locale = next((os.environ[name] for name in LOCALES if os.environ.get(name)), "")
    if locale in ("C", "POSIX"):
        return None
    for tag in (os.environ.get("LANGUAGE") or locale).split(":"):
        first, *others = (
            tag.partition(".")[0].partition("@")[0].lower().replace("-", "_").split("_")
        )
        if first in ("en", "c", "posix"):
            return None
        found = "zh_TW" if first == "zh" and {*others} & {*TRADITIONAL} else first
        if found in NAMES:
            return found if _can_be_shown(NAMES[found]) else None
    return None


def _can_be_shown(text: str) -> bool:
    """Return whether standard output and standard error can encode a text."""
    for stream in (sys.stdout, sys.stderr):
        try:
            text.encode(getattr(stream, "encoding", None) or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return False
    return True


@cache
def _catalogue(name: str) -> gettext.NullTranslations:
    """Return the translations of a language; without their file, nothing is translated."""
    return gettext.translation(DOMAIN, FOLDER, [name], fallback=True)


def _translate(text: str, catalogue: gettext.NullTranslations) -> str:
    if not isinstance(text, Message):
        return str(text)
    values = {
        name: _translate(value, catalogue) if isinstance(value, Message) else value
        for name, value in text.values.items()
    }
    return catalogue.gettext(text.template).format(**values)


def _or_as_it_is(value: Any) -> Any:
    return translated(value) if isinstance(value, Message) else value
