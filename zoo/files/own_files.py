"""Files that the zoo wrote itself: known by what is in them, and only they are replaced."""

from __future__ import annotations

import json
import os
import zipfile
from contextlib import suppress
from pathlib import Path

from zoo.errors import InputError

PROGRAM = "sequence-zoo"  # stands in every picture and every export
HEAD = 4096  # bytes at the beginning of a file that name its program
REPORTS = (  # the keys by which a report is known
    {"task", "data", "reads", "metric", "test"},
    {"machine", "versions", "cases"},
    {"head", "command", "parts"},
)


def is_ours(path: Path) -> bool:
    """Return whether the zoo wrote a picture, an export or a report."""
    with suppress(OSError, ValueError, RecursionError, zipfile.BadZipFile):
        if path.suffix == ".json":
            found = json.loads(path.read_text("utf-8"))
            return isinstance(found, dict) and any(keys <= found.keys() for keys in REPORTS)
        if path.suffix == ".pt2":
            with zipfile.ZipFile(path) as archive:
                return any(Path(name).name == PROGRAM for name in archive.namelist())
        with open(path, "rb") as file:
            return PROGRAM.encode() in file.read(HEAD)
    return False


def check_new(path: Path, overwrite: bool, cure: str = "overwrite=true") -> None:
    """Raise InputError unless a file can be created or, with `overwrite`, is one of ours.

    `cure` says how a user asks for `overwrite`. Nothing is touched.
    """
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path}: is no regular file: choose another name")
    if not is_ours(path):
        raise InputError(f"{path}: exists, and is no file of the zoo: choose another name")
    if not overwrite:
        raise InputError(f"{path}: exists already: choose another name, or add {cure}")


def check_new_in(folder: Path, names: list[str], overwrite: bool) -> None:
    """Check files as `check_new` does that will be written into a folder, `out=FOLDER`."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"out={folder}: is no folder: choose another out=DIR")
    for name in names:
        check_new(folder / name, overwrite)
