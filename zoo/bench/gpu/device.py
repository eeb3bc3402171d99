"""This module holds what depends on the device: description, clock, TF32, kernel names, errors."""

from __future__ import annotations

import gc
import platform
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from zoo import device as machine
from zoo.bench.measure import wait

DRIVER_FILE = Path("/proc/driver/nvidia/version")


def head(kind: str) -> dict[str, Any]:
    """Return names and versions of the device `kind` ("cuda" or "cpu") and of its software."""
    found: dict[str, Any] = {
        "device": kind,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": machine.installed("triton"),
        "python": platform.python_version(),
        "host": machine.describe(),
    }
    if kind == "cuda":
        found |= _card()
    else:
        found |= {"name": found["host"]["processor"], "driver": None, "capability": None}
    return found


def _card() -> dict[str, Any]:
    card = torch.cuda.get_device_properties(0)
    return {
        "name": card.name,
        "driver": driver(),
        "capability": [card.major, card.minor],
        "processors": card.multi_processor_count,
        "memory_gb": card.total_memory / 1e9,
    }


def driver() -> str | None:
    """Return the version of NVIDIA's driver, or None where nothing tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip().splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        pass
    try:
        return DRIVER_FILE.read_text().splitlines()[0]
    except (OSError, IndexError):
        return None


def clock(call: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Return the mean seconds of a call over `repeats` calls. CUDA events time calls on CUDA."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(repeats):
        call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000 / repeats


@contextmanager
def tf32(wanted: bool) -> Iterator[None]:
    """Allow or forbid TF32 in CUDA's float32 products inside the context.

    The function uses the older settings alone. torch refuses a mixture with the newer ones.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.11 recommends the newer settings
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        _set_tf32(wanted, wanted)
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _set_tf32(*before)


def _set_tf32(matmul: bool, cudnn: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = matmul
    torch.backends.cudnn.allow_tf32 = cudnn


def kernels(call: Callable[[], Any], device: torch.device) -> dict[str, int]:
    """Count the kernels that a call launches, by name. On a CPU, count its operators."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    call()
    wait(device)
    with profile(activities=activities) as seen:
        call()
        wait(device)
    wanted = DeviceType.CUDA if cuda else DeviceType.CPU
    counts = Counter(event.name for event in seen.events() if event.device_type == wanted)
    return dict(counts.most_common())


def free(kind: str) -> None:
    """Give unused memory back to the device."""
    gc.collect()
    if kind == "cuda":
        torch.cuda.empty_cache()


def broken(kind: str) -> bool:
    """Return whether an earlier error makes every further use of the device fail."""
    if kind != "cuda":
        return False
    try:
        torch.cuda.synchronize()
        torch.zeros(1, device="cuda").item()
    except RuntimeError:
        return True
    return False
