"""The memory of the machine, and whether what a command is about to do fits into it."""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from zoo.errors import InputError
from zoo.messages import _

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
# Files of a control group, version 2 and 1: the limit, and what is used of it, in bytes.
LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
# Kernels that oneDNN keeps, one for each shape of a batch. It keeps 1,024 unless it is told: with
# 256 units in two directions 1,200 shapes took 350 MB, and with 16 kernels 10 MB. To make one anew
# takes about a millisecond: with 256 kernels an epoch of a small translator takes 2.6 % longer.
KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
MOST_KERNELS = 512
RELEASE_SECONDS = 10.0  # a release and the pages that are taken anew cost up to 0.1 s
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def limit_kernels(most: int = MOST_KERNELS) -> None:
    """Let oneDNN keep `most` kernels, unless the environment says how many.

    oneDNN reads it once, at its first use: without it, memory grows with the shapes of the batches.
    """
    os.environ.setdefault(KERNELS, str(most))


def release_memory(since: float) -> float:
    """Give freed memory back to the system; return when that was last done, in monotonic seconds.

    Nothing is done within RELEASE_SECONDS of `since`, or without glibc. Batches of many shapes
    leave gaps between what is in use, and glibc keeps them.

    A translator of Multi30k held 1.9 GB after 400 steps. With this in its steps it holds 1.05 GB
    after each release, and up to 1.46 GB before: see zoo/bench/README.md, Memory.
    """
    now = time.monotonic()
    trim = _malloc_trim()
    if trim is None or now - since < RELEASE_SECONDS:
        return since
    trim(0)
    return now


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's function of this name, None with another C library."""
    with suppress(AttributeError, OSError, TypeError):
        return ctypes.CDLL(None).malloc_trim
    return None


def free_memory(device: torch.device | None = None) -> int | None:
    """Return the bytes that this process can still take; None where the system does not tell.

    On CUDA they are the device's, otherwise the machine's or those of its control group.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [value for value in (_free_of_machine(), *map(_free_of_group, LIMITS)) if value]
    return min(found, default=None)


def _free_of_machine() -> int | None:
    """Return the available bytes, swap included; None without such a file."""
    with suppress(OSError):
        values = dict(re.findall(r"^(\w+):\s+(\d+) kB", MEMINFO.read_text("utf-8"), re.MULTILINE))
        if "MemAvailable" in values:
            return 1024 * (int(values["MemAvailable"]) + int(values.get("SwapFree", 0)))
    return None


def _free_of_group(names: tuple[str, str, str]) -> int | None:
    """Return what the control group leaves, its caches included; None without a limit."""
    with suppress(OSError, ValueError):  # "max" is no number: no limit
        limit, used = (int((CGROUP / name).read_text("utf-8")) for name in names[:2])
        caches = re.search(r"^(?:total_)?inactive_file (\d+)", _stat(names[2]), re.MULTILINE)
        return max(1, limit - used + (int(caches[1]) if caches else 0))
    return None


def _stat(name: str) -> str:
    with suppress(OSError):
        return (CGROUP / name).read_text("utf-8")
    return ""


def in_words(size: float) -> str:
    """Return a number of bytes as `1.3 GB`."""
    for unit, name in UNITS:
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size:.0f} bytes"


def check_fits(size: float, what: str, cure: str, device: torch.device | None = None) -> None:
    """Raise InputError when so many bytes are more than are free; `cure` says what to change."""
    free = free_memory(device)
    if free is not None and size > free:
        on_device = device is not None and device.type == "cuda"
        raise InputError(
            _(
                "{what} would take {size} of memory, and {where} has {free} free: {cure}",
                what=what,
                size=in_words(size),
                where=_("the device") if on_device else _("the machine"),
                free=in_words(free),
                cure=cure,
            )
        )
