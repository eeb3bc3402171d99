"""The machine a model runs on: device, precision, seeds, versions."""

from __future__ import annotations

import csv
import logging
import os
import platform
import random
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from zoo import torch_private
from zoo.errors import InputError
from zoo.messages import _

log = logging.getLogger("zoo")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
REPEATING = (":16:8", ":4096:8")  # its values for which cuBLAS is deterministic
_started_repeating = False  # whether CUDA started with one of them, in an earlier training
PACKAGES = (
    "torch",
    "torchtext",
    "sentencepiece",
    "scikit-learn",
    "accelerate",
    "safetensors",
    "babel",
    "numpy",
)


def find_device(name: str) -> torch.device:
    """The device of a setting: `auto` is CUDA if available. Raises InputError if it is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(_("device=cuda: torch sees no CUDA device here; use device=auto or cpu"))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    local = os.environ.get("LOCAL_RANK")
    if name == "cuda" and local is not None:  # of the processes of torchrun each has its own
        return torch.device(name, int(local) % torch.cuda.device_count())
    return torch.device(name)


def find_precision(name: str, device: torch.device) -> str:
    """The precision of a setting. Raises InputError for one that the device does not have.

    `auto` is fp16 on CUDA, bf16 on a processor with bf16 instructions, otherwise fp32. On CUDA it
    is fp16, because cuDNN's fast LSTM kernels need it.
    """
    if name not in ("auto", *DTYPES):
        raise InputError(f"precision={name}: it is one of auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise InputError("precision=fp16 needs a CUDA device; use precision=auto, bf16 or fp32")
    if name == "bf16" and device.type == "cpu" and not runs_bf16():
        raise InputError(
            "precision=bf16: the LSTM does not run in bf16 on this processor; use fp32"
        )
    if name != "auto":
        return name
    if device.type == "cuda":
        return "fp16"
    return "bf16" if native_bf16() and runs_bf16() else "fp32"


def is_asynchronous(device: torch.device) -> bool:
    """Whether the device runs asynchronously, so that reading a number from it waits."""
    return device.type != "cpu"


def native_bf16() -> bool:
    """Whether the processor has bf16 instructions (AVX512-BF16 or AMX).

    The choice is never measured: two runs of the same seed could then differ.
    """
    return torch_private.has_bf16_instructions()


@cache
def runs_bf16() -> bool:
    """Whether torch's LSTM trains in bf16 on this processor. It is tried once."""
    try:
        # The caller may have no gradients.
        with torch.inference_mode(False), torch.enable_grad():
            with torch.random.fork_rng(devices=[]):  # leaves the run's random numbers as they are
                lstm = torch.nn.LSTM(8, 8)
            with torch.autocast("cpu", torch.bfloat16):
                output, _ = lstm(torch.ones(2, 2, 8))
            output.float().sum().backward()
        return bool(torch.isfinite(output).all())
    except RuntimeError as error:
        log.warning("bf16 does not run on this processor, fp32 is used: %s", error)
        return False


def set_deterministic(device: torch.device, wanted: bool) -> None:
    """Allow only algorithms that give the same bits each time, or all when not `wanted`.

    cuBLAS reads CUBLAS_WORKSPACE_CONFIG when CUDA starts. Raises InputError when CUDA has started
    without it, or when it has another value. torch itself refuses nondeterministic operations.
    """
    if wanted and device.type == "cuda":
        given = os.environ.get(WORKSPACE)
        if given not in (None, *REPEATING):
            raise InputError(
                f"deterministic=true: {WORKSPACE}={given} does not repeat; set it to {REPEATING[0]}"
            )
        if given is None and torch.cuda.is_initialized() and not _started_repeating:
            raise InputError(
                f"deterministic=true: CUDA has started already; set {WORKSPACE}="
                f"{REPEATING[0]} before Python starts"
            )
        os.environ[WORKSPACE] = given or REPEATING[0]
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted
    if wanted:
        torch.backends.cudnn.benchmark = False


@contextmanager
def process_kept() -> Iterator[None]:
    """Give back, at the end, the settings of the process that a training changes.

    These are threads, algorithms and random states of torch, numpy and Python, and the largest cell
    of a csv file.
    """
    global _started_repeating
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    workspace = os.environ.get(WORKSPACE)
    started = torch.cuda.is_initialized()
    cell = csv.field_size_limit()
    of_python, of_torch = random.getstate(), torch.get_rng_state()
    of_numpy = np.random.get_state()  # noqa: NPY002  # the global one, of others
    of_cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
        torch.set_rng_state(of_torch)
        if of_cuda:
            torch.cuda.set_rng_state_all(of_cuda)
        csv.field_size_limit(cell)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        if not started and torch.cuda.is_initialized():
            _started_repeating = os.environ.get(WORKSPACE) in REPEATING
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
        else:
            os.environ[WORKSPACE] = workspace
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The autocast context in which a model with fp32 weights computes in `precision`."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on; see `installed`."""
    found = {"python": platform.python_version(), **{name: installed(name) for name in PACKAGES}}
    if torch.cuda.is_available():
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())
    return found


def installed(name: str) -> str:
    """The version of an installed package, or "unknown"."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def describe() -> dict[str, str | int]:
    """A description of the machine, for reports and benchmarks."""
    described: dict[str, str | int] = {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": str(native_bf16()).lower(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    return described


def anonymous_memory() -> float | None:
    """Megabytes of anonymous memory of this process; None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"RssAnon:\s*(\d+) kB", status)
    return None if found is None else int(found[1]) / 1000


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
