"""Remove what a killed process left in the folder of a run: files of the zoo, and no others."""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from zoo.errors import InputError
from zoo.files.run_folder import FOLDS, KINDS, MARKER, SETTINGS, STATE, TUNING, locked
from zoo.model_folder.verify import FILES, MANIFEST, PROCESSOR_FILE
from zoo.training.resume.folder import FINISHED, KEPT, finish

log = logging.getLogger("zoo")

PART = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.part")  # as `zoo.files.atomic` names it
NAMES = {*FILES, MANIFEST, KINDS, SETTINGS, TUNING, FOLDS}
NAMES |= {"report.json", "metrics.jsonl", "trials.jsonl"}
OURS = re.compile(
    rf"checkpoint\.[\w.]+|(?:next|previous)\.pt|rows-\w+\.bin|{PROCESSOR_FILE.pattern}"
    r"|[\w-]+\.png"
)


def clean(folder: Path) -> None:
    """Do what `clean_held` does, unless another process holds the folder or no run has made it."""
    if (folder / MARKER).is_file():
        with suppress(OSError, InputError), locked(folder, "model"):
            clean_held(folder)


def clean_held(folder: Path) -> None:
    """Remove half-written files whose process has ended, and end the clean-up of a finished run.

    The lock of the folder must be held. Says what was removed. A folder that cannot be written
    stays as it is.
    """
    with suppress(OSError):
        for place in (folder, folder / STATE, folder / KEPT):
            for path in sorted(place.glob(".*.part")):
                found = PART.fullmatch(path.name)
                ours = found is not None and _is_ours(found["name"])
                if found and ours and path.is_file() and _has_ended(found["process"]):
                    path.unlink()
                    log.info("%s: removed, a process had ended while it wrote it", path)
        marker = folder / STATE / FINISHED
        if marker.is_file() and _has_ended(marker.read_text("utf-8").strip()):
            finish(folder)
            log.info("%s: removed what a finished run no longer needs", folder / STATE)


def _is_ours(name: str) -> bool:
    return name in NAMES or OURS.fullmatch(name) is not None


def _has_ended(process: str) -> bool:
    """Return whether a process, by its number, no longer runs; False where that is not known."""
    if os.name != "posix" or not process.isdecimal() or len(process) > 9:
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
