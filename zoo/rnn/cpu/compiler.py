"""Compile `lstm.c` with a C compiler that is at hand, and load it.

A compiler is one that the environment's CC names, else cc, gcc or clang, else the one in the wheel
`ziglang`. It takes a second, once for each version and processor; the result is kept in the user's
cache folder. Without a compiler nothing is compiled, and the loop in Python runs.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

log = logging.getLogger("zoo")

SOURCE = Path(__file__).with_name("lstm.c")
OPTIONS = ("-O3", "-std=gnu11", "-fPIC", "-shared")
NATIVE = ("-march=native", "-mcpu=native")  # compilers know one of them
MOST_SECONDS = 120


def compilers() -> list[list[str]]:
    """Return the commands of the C compilers that are at hand, the preferred one first."""
    named = shlex.split(os.environ.get("CC", ""))
    found = [named] if named and shutil.which(named[0]) else []
    found += [[name] for name in ("cc", "gcc", "clang") if shutil.which(name)]
    if find_spec("ziglang") is not None:
        found.append([sys.executable, "-m", "ziglang", "cc"])
    return found


@cache
def load() -> ctypes.CDLL | None:
    """Return the compiled library, or None where it cannot be compiled or loaded.

    Only the first call works; it logs one line if it compiled, or if a compiler failed.
    """
    try:
        path = library_path()
    except (OSError, RuntimeError):  # no source, as in a zip; or a user without a home
        return None
    if not path.exists() and not _compile(path):
        return None
    try:
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            raise OSError("it belongs to another user")
        return ctypes.CDLL(str(path))
    except OSError as error:
        log.warning("%s is not used, the LSTM's steps run in Python: %s", path, error)
        return None


def library_path() -> Path:
    """Return where the compiled library is kept: a name for each source, version and processor."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    kind = "|".join([sys.platform, platform.machine(), _processor(), *OPTIONS])
    name = hashlib.sha256(SOURCE.read_bytes() + kind.encode()).hexdigest()[:16]
    return Path(folder) / "sequence-zoo" / f"lstm-{name}.so"


def _processor() -> str:
    """Return what tells processors with other instructions apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    told = ("model name", "flags", "Features", "CPU part")
    return "|".join(sorted({line for line in lines if line.startswith(told)}))


def _compile(path: Path) -> bool:
    """Compile the source to a path, whole or not at all. Returns whether it is there."""
    start = time.perf_counter()
    failed = ""
    found = compilers()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as work:
            made = Path(work) / path.name
            for command in found:
                for native in NATIVE:
                    call = [*command, *OPTIONS, native, str(SOURCE), "-o", str(made), "-lm"]
                    failed = _run(call)
                    if not failed:
                        made.replace(path)
                        took = time.perf_counter() - start
                        log.info("compiled the LSTM's steps in %.1f s: %s", took, path)
                        return True
    except OSError as error:
        failed = str(error)
    if failed:
        log.info("the LSTM's steps run in Python, %s did not compile: %s", SOURCE.name, failed)
    return False


def _run(call: list[str]) -> str:
    """Run a command; returns the last line of its complaint, or nothing where it succeeds."""
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=MOST_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
