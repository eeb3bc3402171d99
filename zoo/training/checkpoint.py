"""The checkpoint from which a training resumes, and the states of the random generators.

checkpoint.pt        the state of the training
previous.pt          the state before it, for the case that checkpoint.pt is damaged
checkpoint.sha256    sha256 of these files and of others of the folder, verified before use
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shlex
from pathlib import Path
from typing import IO, Any, cast

import torch

from zoo.errors import InputError
from zoo.files import atomic, write_text
from zoo.files.run_folder import CHECKPOINTS, MANIFEST, has_checkpoint
from zoo.messages import _
from zoo.model_folder.verify import line_of

log = logging.getLogger("zoo")

FILE, PREVIOUS = CHECKPOINTS
NEXT = "next.pt"  # until it is whole
SUMS = "checkpoint.sha256"
FILES = (FILE, PREVIOUS, NEXT, SUMS)
DAMAGED = _("it is damaged: its sha256 is not in {sums}", sums=SUMS)
KEPT_SUMS = 3  # of one name: a process may be killed between the writing of two files


def save(state: dict[str, Any], folder: Path) -> None:
    """Write `folder/checkpoint.pt`; the state holds tensors, numbers, strings, lists and dicts.

    The checkpoint before becomes previous.pt when the new one is whole. Raises InputError when the
    disk is full; then the checkpoint before is as it was.
    """
    hashed = _Hashed()
    try:
        with atomic(folder / NEXT) as file:
            hashed.file = file
            torch.save(state, cast(IO[bytes], hashed))
        record(folder, {FILE: hashed.digest.hexdigest()})
        if (folder / FILE).exists():
            os.replace(folder / FILE, folder / PREVIOUS)
        os.replace(folder / NEXT, folder / FILE)
    except (OSError, RuntimeError) as error:  # torch may hide the error of the file
        found = hashed.error or error
        why = found.strerror if isinstance(found, OSError) else line_of(found)
        cure: str = ""
        if has_checkpoint(folder):
            command = f"python -m zoo.run resume={shlex.quote(str(folder.parent))}"
            cure = _(
                "; the checkpoint before it is kept; with more room, go on with: {command}",
                command=command,
            )
        raise InputError(f"{folder / FILE}: {why}" + cure) from None


class _Hashed:
    """A file that is written; it keeps the hash of what was written, and the error that ended it."""

    def __init__(self) -> None:
        self.file: IO[bytes] = io.BytesIO()
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write bytes; returns their number."""
        try:
            self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Write what is buffered."""
        self.file.flush()


def record(folder: Path, sums: dict[str, str]) -> None:
    """Add the sha256 of files, by name, to those that `verify` accepts."""
    lines = [f"{digest}  {name}" for name, digest in sums.items()]
    lines += [line for line in _lines(folder) if line not in lines]
    seen: dict[str, int] = {}
    kept = []
    for line in lines:
        name = line[66:]
        seen[name] = seen.get(name, 0) + 1
        if seen[name] <= KEPT_SUMS:
            kept.append(line)
    write_text(folder / SUMS, "".join(f"{line}\n" for line in kept))


def _lines(folder: Path) -> list[str]:
    path = folder / SUMS
    return path.read_text("utf-8", "replace").splitlines() if path.is_file() else []


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(content: bytes) -> str:
    """Return the sha256 of the content of a file."""
    return hashlib.sha256(content).hexdigest()


def verify(path: Path, name: str | None = None) -> None:
    """Raise InputError when a file is damaged: its sha256 was not recorded for it, or for `name`."""
    if f"{sha256(path)}  {name or path.name}" not in _lines(path.parent):
        raise InputError(f"{path}: " + DAMAGED)


def check(folder: Path) -> None:
    """Raise InputError when no checkpoint of a folder is whole."""
    if not any(_is_good(folder / name) for name in (FILE, NEXT, PREVIOUS)):
        load(folder)


def mend(folder: Path) -> None:
    """Put the checkpoint before in the place of one that is damaged or missing, and say so."""
    good = {name: _is_good(folder / name) for name in (FILE, PREVIOUS)}
    if (folder / PREVIOUS).is_file() and not good[PREVIOUS] and good[FILE]:
        log.warning("%s is damaged; it is not needed and removed", folder / PREVIOUS)
        (folder / PREVIOUS).unlink()
    if not (folder / FILE).exists() and _is_good(folder / NEXT):  # killed before it was renamed
        os.replace(folder / NEXT, folder / FILE)
        return
    if good[FILE] or not good[PREVIOUS]:
        return
    state = "is damaged" if (folder / FILE).is_file() else "is missing"
    log.warning("%s %s: going on from the checkpoint before it", folder / FILE, state)
    os.replace(folder / PREVIOUS, folder / FILE)


def _is_good(path: Path) -> bool:
    try:
        verify(path, FILE)
    except (InputError, OSError):
        return False
    return True


def load(folder: Path, mmap: bool = False) -> dict[str, Any]:
    """Read `folder/checkpoint.pt`. With `mmap` tensors are read when they are used.

    Raises InputError when the file is missing or damaged.
    """
    path = folder / FILE
    if not path.is_file():
        finished = (folder.parent / MANIFEST).is_file()
        why: str = _("this run is finished") if finished else _("there is nothing to go on with")
        raise InputError(
            _(
                "resume={folder}: no {file}: {why}",
                folder=folder.parent,
                file=f"{folder.name}/{FILE}",
                why=why,
            )
        )
    try:
        verify(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises many classes for a broken file
        found = str(error).splitlines()[0].removeprefix(f"{path}: ")
        why = DAMAGED if found == DAMAGED else found
        raise InputError(_("{path}: not a checkpoint: {why}", path=path, why=why)) from None


def random_state() -> dict[str, Any]:
    """The states of torch's random generators, which dropout draws from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the states that `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
