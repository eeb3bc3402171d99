"""The output of a command: a regular file is replaced when complete, all else is written into."""

from __future__ import annotations

import gzip
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from zoo.errors import InputError
from zoo.files import atomic
from zoo.messages import _

# Suffixes of files that a program would not open, if a table or lines of text were in them.
OTHERS = ".xlsx", ".xls", ".ods", ".parquet", ".feather", ".arrow", ".json", ".xml", ".html"


def check_output(output: str, given: str, form: str = "label") -> None:
    """Raise InputError when an output cannot be written, or is the input by whatever name.

    With the `form` "json", which is asked for, a file of lines may be named .json. Nothing is touched.
    """
    if output == "-":
        return
    path = Path(output)
    suffix = Path(output.lower().removesuffix(".gz")).suffix
    if suffix in OTHERS and not (suffix == ".json" and form == "json"):
        written = ".jsonl" if suffix == ".json" else ".csv"
        raise InputError(
            _(
                "output={output}: {suffix} files are not written: end the name with {written}",
                output=output,
                suffix=suffix,
                written=written,
            )
        )
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError(
                _("output={output}: a link to nothing: choose another name", output=output)
            ) from None
        return
    if stat.S_ISDIR(mode):
        raise InputError(_("output={output}: is a folder: add the name of a file", output=output))
    if stat.S_ISREG(mode) and not mode & 0o222:
        raise InputError(_("output={output}: is read-only: choose another name", output=output))
    if given != "-" and Path(given).exists() and path.samefile(given):
        raise InputError(_("output={output} is the input: choose another name", output=output))


def is_terminal() -> bool:
    """Return whether standard output is a terminal; it is none where it is closed."""
    return sys.stdout is not None and sys.stdout.isatty()


@contextmanager
def opened_output(name: str) -> Iterator[IO[bytes]]:
    """Open an output: standard output for "-", else a file, packed if its name ends with .gz.

    A regular file appears when it is complete. A pipe or a device is written into. A link stays, and
    the file behind it is replaced.
    """
    if name == "-":
        if sys.stdout is None:
            raise InputError(_("standard output is closed: add output=FILE"))
        yield sys.stdout.buffer
        return
    with open(name, "wb") if _is_stream(name) else atomic(Path(os.path.realpath(name))) as file:
        if not name.lower().endswith(".gz"):
            yield file
            return
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
            yield cast(IO[bytes], packed)


def _is_stream(name: str) -> bool:
    """Return whether a name is a pipe, a device or an open file of a process."""
    try:
        regular = stat.S_ISREG(os.stat(name).st_mode)
    except OSError:
        return False
    return not regular or _is_open_file(name)


def _is_open_file(name: str) -> bool:
    """Return whether a name, or a link to it, is one of a process's open files."""
    path = Path(os.path.abspath(name))
    for _link in range(40):  # as many links as the system follows
        parent = Path(os.path.realpath(path.parent))
        if str(parent).startswith("/proc/") and parent.name == "fd":
            return True
        if not path.is_symlink():
            return False
        path = parent / os.readlink(path)
    return False
