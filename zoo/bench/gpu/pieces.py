"""This module packs a folder into pieces that are small enough to carry one by one."""

from __future__ import annotations

import io
import shlex
import tarfile
from pathlib import Path

from zoo.errors import InputError
from zoo.files import atomic

SIZE = 15 << 20  # bytes of a piece at most
MOST = 6  # number of pieces at most
NAME = "model.tar.gz"


def pack(source: Path, into: Path, size: int = SIZE, most: int = MOST) -> list[Path]:
    """Write the files of folder `source` into pieces NAME.0, NAME.1, … in `into`.

    Returns their paths, and removes older pieces. A piece has at most `size` bytes. Raises
    InputError when there would be more than `most` pieces; the older ones stay then.
    """
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz", compresslevel=6) as archive:
        for path in sorted(source.iterdir()):
            archive.add(path, path.name)
    packed = memory.getvalue()
    parts = [packed[start : start + size] for start in range(0, len(packed), size)]
    if len(parts) > most:
        raise InputError(f"{source}: {len(parts)} pieces of {size:,} bytes, more than {most}")
    paths = [into / f"{NAME}.{number}" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        with atomic(path) as file:
            file.write(part)
    for path in into.glob(f"{NAME}.*"):
        if path not in paths:
            path.unlink()
    return paths


def joining(folder: Path, into: Path) -> str:
    """Return the shell command that makes folder `into` from the pieces in `folder`."""
    made, pieces = shlex.quote(str(into)), shlex.quote(str(folder / NAME))
    return f"mkdir -p {made} && cat {pieces}.* | tar xz -C {made}"
