"""The folder of a run: nothing of others is in it, and one process alone writes into it.

A marker is the first file in it and is locked while the run lasts. The system frees the lock when
the process ends, however it ends.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from zoo.errors import InputError
from zoo.messages import _

MARKER = ".zoo-run"  # in every folder of a run
EARLIER_LOCK = ".lock"  # of a run before there was a marker
STATE = "checkpoint"  # folder of an unfinished run: weights, tokenizer, encoded rows, settings
CHECKPOINTS = ("checkpoint.pt", "previous.pt")
SETTINGS = "settings.json"
KINDS = "processors.json"  # of the checkpoint's processors: name -> kind
MANIFEST = "manifest.json"  # of a model, so of a finished run
SUFFIXES = ".json", ".model", ".npz"  # of the files of processors

TUNING = "tuning.json"  # of an unfinished tuning: its settings
FOLDS = "folds.json"  # of a cross-validation: its figures
EVENTS = "tensorboard"  # folder of the events for TensorBoard

PART = r"\.[^/]+\.part"  # a file that was being written
ENCODED = r"encoded-\d+/\w+/(?:fields\.json|[\w.-]+\.(?:bin|ends))"
STATE_FILE = (
    rf"{re.escape(SETTINGS)}|{re.escape(KINDS)}|checkpoint[\w.-]*|(?:previous|next)\.pt"
    rf"|rows-\w+\.bin|{PART}|{ENCODED}"
)
# What a run writes before its first checkpoint is complete.
RUN_FILE = re.compile(
    rf"{re.escape(MARKER)}|{re.escape(EARLIER_LOCK)}|metrics\.jsonl|{PART}"
    rf"|{STATE}/(?:{STATE_FILE})|{EVENTS}/events[\w.-]*"
)
RETRIES = 100  # when another process removes a folder that this one is about to enter


def make_folder(folder: Path) -> list[Path]:
    """Create a folder and those above it. Return the new ones, the innermost first.

    Of several processes that create a folder at once, exactly one has it in its list.
    """
    made: list[Path] = []
    for _attempt in range(RETRIES):
        with suppress(FileNotFoundError):  # another process has removed one of them again
            for path in [*reversed(folder.parents), folder]:
                if _make(path):
                    made.insert(0, path)
            return made
        made = [path for path in made if path.is_dir()]
    raise FileNotFoundError(2, "No such file or directory", str(folder))


def _make(path: Path) -> bool:
    """Create a folder. Return False if it is there. Raises OSError, InputError for a broken link."""
    if path.is_dir():
        return False
    try:
        path.mkdir()
    except FileExistsError:
        if path.is_symlink() and not path.exists():
            raise InputError(
                _("{path}: a link to nothing: remove it, or choose another", path=path)
            ) from None
        if not path.is_dir():
            raise NotADirectoryError(20, "Not a directory", str(path)) from None
        return False
    return True


def create_next(stem: str) -> list[Path]:
    """Create STEM, or STEM-2, STEM-3, …: the first that is not there.

    Return the new folders, the innermost first. No two processes get the same one.
    """
    for number in count(1):
        folder = Path(stem if number == 1 else f"{stem}-{number}")
        if os.path.lexists(folder):
            continue
        made = make_folder(folder)
        if folder in made:
            return made
        remove_empty(made)
    raise AssertionError("numbers do not end")


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those folders that are empty, in this order; the others stay."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def locked(folder: Path, setting: str, made: Sequence[Path] = ()) -> Iterator[None]:
    """Create a folder if necessary, mark it, and keep it from every other process.

    `made` are folders that the caller has created for it. If nothing but the marker is in the
    folder afterwards, that and the new folders are removed. Raises InputError, which begins with
    `setting`, when another process holds the folder.
    """
    new = [*made]
    lock = _acquire(folder, setting, new)
    marker = folder / MARKER
    try:
        yield
    finally:
        unused = [path.name for path in folder.iterdir()] == [MARKER]
        if unused and os.name == "posix":  # while it is held: nobody else can have this file
            marker.unlink(missing_ok=True)
        lock.release()
        if unused:
            with suppress(OSError):  # other systems cannot remove an open file
                marker.unlink(missing_ok=True)
            remove_empty(new)


def _acquire(folder: Path, setting: str, new: list[Path]) -> FileLock:
    """Create a folder and lock its marker; new folders are added to `new`."""
    marker = folder / MARKER
    for _attempt in range(RETRIES):
        new[:0] = [path for path in make_folder(folder) if path not in new]
        if marker.is_symlink() or (marker.exists() and not marker.is_file()):
            raise InputError(
                _(
                    "{setting}={folder}: {marker} in it is no file of the zoo",
                    setting=setting,
                    folder=folder,
                    marker=MARKER,
                )
            )
        lock = FileLock(marker, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise _in_use(folder, setting) from None
        except FileNotFoundError:  # another process has removed the folder again
            continue
        if marker.exists():
            return lock
        lock.release()  # of a file that another process has removed
    raise _in_use(folder, setting)


def _in_use(folder: Path, setting: str) -> InputError:
    return InputError(
        _(
            "{setting}={folder} is in use: another training writes there",
            setting=setting,
            folder=folder,
        )
    )


def has_checkpoint(state: Path) -> bool:
    """Return whether the state of a run holds a checkpoint, damaged or not."""
    return any((state / name).is_file() for name in CHECKPOINTS)


def check_free(folder: Path, setting: str = "out") -> None:
    """Raise InputError unless a folder is new, empty, or of a run that left no result.

    Nothing is touched. The message says which file is in the way, and how to go on.
    """
    if not folder.is_dir():
        if folder.is_symlink() and not folder.exists():
            raise InputError(
                _(
                    "{setting}={folder}: a link to nothing: choose another {setting}=DIR",
                    setting=setting,
                    folder=folder,
                )
            )
        if os.path.lexists(folder):
            raise InputError(
                _(
                    "{setting}={folder}: is no folder: choose another {setting}=DIR",
                    setting=setting,
                    folder=folder,
                )
            )
        return
    state = folder / STATE
    begun = has_checkpoint(state)
    if begun or (folder / MANIFEST).exists():
        cure = _(", or go on with resume={folder}", folder=folder) if begun else ""
        raise InputError(
            _(
                "{setting}={folder}: holds a run already: choose another {setting}=DIR{cure}",
                setting=setting,
                folder=folder,
                cure=cure,
            )
        )
    if (folder / TUNING).is_file() and (folder / MARKER).is_file():
        raise InputError(
            _(
                "{setting}={folder}: holds an unfinished tuning: choose another {setting}=DIR, or go "
                "on with resume={folder}",
                setting=setting,
                folder=folder,
            )
        )
    foreign = next(_foreign(folder), None)
    if foreign is not None:
        raise InputError(
            _(
                "{setting}={folder}: holds {file}, which is of no run: choose a new or empty folder",
                setting=setting,
                folder=folder,
                file=foreign.relative_to(folder),
            )
        )


def _foreign(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder and was not left by a run that ended before its first checkpoint."""
    ours = (folder / MARKER).is_file() or (folder / STATE / SETTINGS).is_file()
    for path in sorted(folder.iterdir()):
        if not ours or path.is_symlink():
            yield path
        elif path.is_dir():
            yield from _foreign_within(folder, path)
        elif not (path.is_file() and RUN_FILE.fullmatch(path.name)):
            yield path


def _foreign_within(folder: Path, inner: Path) -> Iterator[Path]:
    """Yield the files in a folder of a run, such as its state, that no run has written."""
    if inner.name not in (STATE, EVENTS):
        yield inner
        return
    own = {f"{name}{suffix}" for name in _processors(inner) for suffix in SUFFIXES}
    for path in sorted(inner.rglob("*")):
        name = path.relative_to(folder).as_posix()
        known = path.name in own and path.parent == inner
        if path.is_symlink() or not (path.is_dir() or known or RUN_FILE.fullmatch(name)):
            yield path


def _processors(state: Path) -> list[str]:
    """Return the names of the processors in the state of a run."""
    try:
        return [*json.loads((state / KINDS).read_text("utf-8"))]
    except (OSError, ValueError, TypeError, RecursionError):
        return []


def remove_state(folder: Path, part: str = "") -> None:
    """Remove the state of a run, or a part of it, but no file that no run has written.

    Folders that are empty then are removed as well.
    """
    if not (folder / STATE).is_symlink():
        _remove_own(folder, folder / STATE, folder / STATE / part)


def remove_all(folder: Path) -> None:
    """Remove all that a run without a checkpoint has written, but the marker."""
    remove_state(folder)
    for path in [*folder.iterdir()]:
        own = path.name != MARKER and RUN_FILE.fullmatch(path.name)
        if own and path.is_file() and not path.is_symlink():
            path.unlink()
    if not (folder / EVENTS).is_symlink():
        _remove_own(folder, folder / EVENTS, folder / EVENTS)


def _remove_own(folder: Path, inner: Path, place: Path) -> None:
    """Remove the files of a run in `place`, which is `inner` or a folder in it."""
    foreign = {*_foreign_within(folder, inner)} if inner.is_dir() else set()
    for path in sorted(place.rglob("*"), reverse=True):  # files before their folders
        if path in foreign:
            continue
        if path.is_dir() and not path.is_symlink():
            remove_empty([path])
        else:
            path.unlink(missing_ok=True)
    remove_empty([place])
