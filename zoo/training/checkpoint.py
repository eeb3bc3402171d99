"""Files that are whole or not there, and a training that goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from zoo.errors import InputError

FILE = "checkpoint.pt"


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to that takes `path`'s place only when it is complete and on the disk."""
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
    """Replace a text file as a whole."""
    with atomic(path) as file:
        file.write(text.encode())


def _sync(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def save(state: dict[str, Any], folder: Path) -> None:
    """Write `folder/checkpoint.pt`: tensors, numbers, strings, lists and dicts."""
    with atomic(folder / FILE) as file:
        torch.save(state, file)


def load(folder: Path, mmap: bool = False) -> dict[str, Any]:
    """Read `folder/checkpoint.pt`, its tensors only as they are used with `mmap`.

    Raises InputError when there is none, or a broken one.
    """
    path = folder / FILE
    if not path.is_file():
        finished = (folder.parent / "manifest.json").is_file()
        why = "this run is finished" if finished else "there is nothing to go on with"
        raise InputError(f"resume={folder.parent}: no {folder.name}/{FILE}: {why}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises half a dozen kinds for a broken file
        raise InputError(f"{path}: not a checkpoint: {str(error).splitlines()[0]}") from None


def random_state() -> dict[str, Any]:
    """The state of the generators that dropout draws from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Go back to what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
