"""What a run keeps on the disk to go on: while it trains, and after it is finished.

DIR/checkpoint    of a run that is not finished: state, settings, processors, encoded rows
DIR/resume        of a finished run: what `resume=DIR train.epochs=N` needs
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.config import Settings, check
from zoo.data.processors import Processor
from zoo.errors import InputError
from zoo.files import write_text
from zoo.files.run_folder import KINDS, SETTINGS, STATE, has_checkpoint, remove_state
from zoo.model_folder.format import load_processors, save_processors
from zoo.option_classes import flat
from zoo.training import checkpoint

log = logging.getLogger("zoo")

KEPT = "resume"
FINISHED = "checkpoint.finished"  # the number of the process that removes what is not needed


@dataclass(frozen=True)
class Began:
    """How a run began."""

    settings: Settings
    command: str
    folder: str  # the working folder, to which relative paths belong

    def text(self) -> str:
        """Return the content of settings.json."""
        kept = {"settings": self.settings.model_dump(), "command": self.command}
        return json.dumps(kept | {"folder": self.folder}, indent=1)


def state_of(folder: Path) -> Path:
    """Return the folder with the state of a run. Raises InputError for none, and a damaged one."""
    for name in (STATE, KEPT):
        if has_checkpoint(folder / name):
            checkpoint.check(folder / name)
            return folder / name
    checkpoint.load(folder / STATE)  # raises
    raise AssertionError("there is no checkpoint to load")


def write_settings(began: Began, state: Path) -> None:
    """Write settings.json; its sha256 is recorded first."""
    text = began.text()
    checkpoint.record(state, {SETTINGS: checkpoint.sha256_of(text.encode())})
    write_text(state / SETTINGS, text)


def read_settings(state: Path) -> Began:
    """Read settings.json. Raises InputError that names what was changed in it by hand."""
    path = state / SETTINGS
    try:
        kept = json.loads(path.read_text("utf-8"))
        began = Began(check(kept["settings"]), str(kept["command"]), str(kept["folder"]))
        checkpoint.verify(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        changed = _changed(path, state)
        if changed:
            raise InputError(changed) from None
        raise error if isinstance(error, InputError) else InputError(f"{path}: {error}") from None
    return began


def _changed(path: Path, state: Path) -> str:
    """Return which setting of settings.json is not that of the checkpoint, in one line; or ""."""
    try:
        now = flat(json.loads(path.read_text("utf-8")))
        facts = checkpoint.load(state, mmap=True)["facts"]
        before = flat(json.loads(facts["settings"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    for name in [*before, *now]:
        if before.get(name) != now.get(name):
            shown = name.removeprefix("settings.")
            return (
                f"{path}: {shown} is {now.get(name)!r}, and the run began with "
                f"{before.get(name)!r}: write that again, or train anew"
            )
    return ""


def save_learned(processors: dict[str, Processor], state: Path) -> None:
    """Write the kinds of a run's processors, by which their files are known, and then these files.

    Their sha256 are recorded.
    """
    kinds = {name: each.kind for name, each in processors.items()}
    write_text(state / KINDS, json.dumps(kinds))
    names = save_processors(processors, state)
    checkpoint.record(state, {name: checkpoint.sha256(state / name) for name in [KINDS, *names]})


def load_learned(state: Path) -> dict[str, Processor]:
    """Return the processors of a run. Raises InputError for a damaged file."""
    path = state / KINDS
    try:
        checkpoint.verify(path)
        kinds: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found = load_processors(state, kinds)
        for name, each in found.items():
            checkpoint.verify(state / f"{name}{each.suffix}")
        return found
    except (OSError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: {error}") from None


def reopen(folder: Path, began: Began) -> None:
    """Make the state of a run ready to go on, with settings that may have changed.

    The lock of the folder must be held.
    """
    state = folder / STATE
    if not has_checkpoint(state):
        remove_state(folder)  # of a run that was killed before its first step
        os.replace(folder / KEPT, state)
    (state / FINISHED).unlink(missing_ok=True)
    checkpoint.mend(state)
    if (state / SETTINGS).read_text("utf-8") != began.text():
        write_settings(began, state)


def finish(folder: Path) -> None:
    """Keep of a finished run's state what is needed to train on, and remove the rest.

    A marker says that it has begun, so that the next command ends what a killed process has begun.
    """
    state = folder / STATE
    write_text(state / FINISHED, f"{os.getpid()}\n")
    for path in state.glob("encoded-*"):
        remove_state(folder, path.name)
    (state / checkpoint.PREVIOUS).unlink(missing_ok=True)
    (state / FINISHED).unlink()
    os.replace(state, folder / KEPT)
