"""Atomic writes, so that a file is either complete or not there; and reading JSON.

`run_folder` claims and locks the folder of a run, `own_files` knows what the zoo wrote itself.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from zoo.errors import InputError


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` once it is complete and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic(path) as file:
        file.write(text.encode())


def read_json(path: Path) -> Any:
    """Return the value in a JSON file, UTF-8, as `parse_json`. Raises InputError that names the file."""
    try:
        return parse_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises ValueError for anything else, a key that an object has twice, NaN and Infinity, numbers of
    very many digits, and very deep nesting.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_distinct, parse_constant=_finite, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError(f"nested too deep: {error}") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = max(found, key=Counter(key for key, _ in pairs).__getitem__)
        raise ValueError(f"the key {twice[:100]!r} stands twice in one object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:100]} is no finite number")
    return value


def _sync(folder: Path) -> None:
    if os.name == "posix":  # other systems cannot open a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
