"""The files of a model folder that the zoo wrote and nobody has changed since."""

from __future__ import annotations

from pathlib import Path

from zoo.errors import InputError
from zoo.messages import _
from zoo.model_folder.verify import MANIFEST, manifest_of, sha256


def foreign_in(folder: Path) -> str | None:
    """Return the first file in a model folder that is not the model's, or was changed; else None."""
    try:
        files = manifest_of(folder)
    except InputError:
        return min((path.name for path in folder.iterdir()), default=None)
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file() or path.name not in {*files, MANIFEST}:
            return path.name
        if path.name != MANIFEST and sha256(path) != files[path.name]:
            return path.name
    return None


def check_place(folder: Path, overwrite: bool, cure: str = "") -> None:
    """Raise InputError unless a folder is new or empty or, with `overwrite`, holds a model alone.

    `cure` is what the message adds where a model is there: how to ask for `overwrite`.
    """
    if not folder.is_dir():
        if folder.exists() or folder.is_symlink():
            raise InputError(
                _("{folder}: exists already, and is no folder: choose another name", folder=folder)
            )
        return
    if not any(folder.iterdir()):
        return
    foreign = foreign_in(folder)
    if foreign is not None:
        raise InputError(
            _(
                "{folder}: exists already, and holds {file}, which is no file of a model as it was "
                "saved: choose a folder that is not there yet",
                folder=folder,
                file=foreign,
            )
        )
    if not overwrite:
        raise InputError(
            _(
                "{folder}: exists already: choose a folder that is not there yet{cure}",
                folder=folder,
                cure=cure,
            )
        )


def remove_model(folder: Path) -> None:
    """Remove the files of a model, its manifest first, and the folder if it is empty then."""
    files = [MANIFEST, *manifest_of(folder)]
    for name in files:
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
