"""The checkpoint file from which a training resumes, and the states of the random generators."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from zoo.errors import InputError
from zoo.files import atomic

FILE = "checkpoint.pt"


def save(state: dict[str, Any], folder: Path) -> None:
    """Write `folder/checkpoint.pt`; the state holds tensors, numbers, strings, lists and dicts."""
    with atomic(folder / FILE) as file:
        torch.save(state, file)


def load(folder: Path, mmap: bool = False) -> dict[str, Any]:
    """Read `folder/checkpoint.pt`. With `mmap` tensors are read when they are used.

    Raises InputError when the file is missing or broken; each part has a checksum.
    """
    path = folder / FILE
    if not path.is_file():
        finished = (folder.parent / "manifest.json").is_file()
        why = "this run is finished" if finished else "there is nothing to go on with"
        raise InputError(f"resume={folder.parent}: no {folder.name}/{FILE}: {why}")
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes the checksums and does not read them
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises many classes for a broken file
        raise InputError(f"{path}: not a checkpoint: {str(error).splitlines()[0]}") from None


def random_state() -> dict[str, Any]:
    """The states of torch's random generators, which dropout draws from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the states that `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
