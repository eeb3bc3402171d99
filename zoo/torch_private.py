"""Every use of torch's private interfaces. No other file names one.

Names that begin with an underscore may change with any version. These match torch 2.11 to 2.13.
If one is missing, the function here does without it or raises an error.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def has_bf16_instructions() -> bool:
    """Whether the CPU has bf16 instructions (AVX512-BF16 or AMX); False if torch cannot tell."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


@cache
def has_onednn_linear() -> bool:
    """Whether `onednn_linear` and `onednn_weight` can be called."""
    names = ("_linear_pointwise", "_reorder_linear_weight")
    found = all(hasattr(torch.ops.mkldnn, name) for name in names)
    return found and torch.backends.mkldnn.is_available()


def onednn_linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return rows @ weight.T + bias, computed by oneDNN on a CPU."""
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


def onednn_weight(weight: Tensor) -> Tensor:
    """Reorder a weight for `onednn_linear`, which would otherwise reorder it at each call."""
    return torch.ops.mkldnn._reorder_linear_weight(weight)


@cache
def has_onednn_int8() -> bool:
    """Whether `onednn_int8_linear` can be called, on a CPU with instructions for it (VNNI)."""
    names = ("_is_avx512_vnni_supported", "_is_vnni_supported")
    fast = any(getattr(torch.cpu, name, lambda: False)() for name in names)
    calls = all(
        hasattr(torch.ops.onednn, name) for name in ("qlinear_prepack", "qlinear_pointwise")
    )
    return fast and calls and torch.backends.mkldnn.is_available()


def onednn_int8_weight(weight: Tensor) -> Tensor:
    """Reorder a weight (rows, size) int8 for `onednn_int8_linear`, to be called with one row."""
    return torch.ops.onednn.qlinear_prepack(weight, [1, weight.size(1)])


def onednn_int8_linear(
    row: Tensor,
    scale: float,
    zero: int,
    weight: Tensor,
    scales: Tensor,
    zeros: Tensor,
    bias: Tensor | None,
) -> Tensor:
    """Return (row - zero) * scale @ (scales * (weight - zeros)).T + bias, float32.

    row: (1, size) uint8; weight: a reordered one; scales: (rows,) float32; zeros: (rows,) int64.
    """
    given = (row, scale, zero, weight, scales, zeros, bias)
    kind: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
    return torch.ops.onednn.qlinear_pointwise(*given, *kind)


def rnn_weights(rnn: Any) -> dict[str, Tensor]:
    """Read all weights of a `torch.nn.LSTM` or `torch.nn.GRU` by name, as its forward reads them.

    Call it once in a forward. A spectral norm in training computes other weights at each reading.
    """
    rnn._update_flat_weights()
    weights = zip(rnn._flat_weights_names, rnn._flat_weights, strict=True)
    return {name: weight for name, weight in weights if weight is not None}


def in_func_transform() -> bool:
    """Whether a transform of torch.func, such as grad or vmap, runs; False if torch cannot tell."""
    functorch = getattr(torch._C, "_functorch", None)
    peek = getattr(functorch, "peek_interpreter_stack", lambda: None)
    return peek() is not None


@cache
def openmp() -> ctypes.CDLL | None:
    """Return the library through which torch's OpenMP is called; None if it has none.

    Its GOMP_parallel runs a C function on the team of torch's own calls, whose threads are awake.
    The arguments are the function, one argument for it, the number of threads, and 0.
    """
    name = {"darwin": "libtorch_cpu.dylib"}.get(sys.platform, "libtorch_cpu.so")
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
    except OSError:
        return None
    found = hasattr(library, "GOMP_parallel") and hasattr(library, "omp_set_num_threads")
    return library if found else None


def run_in_team(function: Callable[[], None], threads: int) -> None:
    """Call a function in each of `threads` threads of torch's, this one included, and wait.

    torch's own calls inside run on one thread each. `function` must raise nothing. Raises
    RuntimeError without OpenMP.
    """
    library = openmp()
    if library is None:
        raise RuntimeError("torch has no OpenMP here")

    def run(_: object) -> None:
        torch.get_num_threads()  # a thread's first call into torch sets its number
        library.omp_set_num_threads(1)  # inside this region only
        function()

    called = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(run)
    library.GOMP_parallel(called, None, ctypes.c_uint(threads), ctypes.c_uint(0))


def layer_norm_backward(d_normed: Tensor, rows: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    """Return the gradient of rows whose last dimension was normalised without scale and shift."""
    backward = torch.ops.aten.native_layer_norm_backward
    shape = rows.shape[-1:]
    return backward(d_normed, rows, shape, mean, rstd, None, None, [True, False, False])[0]


def lerp_(kept: list[Tensor], others: list[Tensor], share: float) -> None:
    """Move every tensor by `share` of the way towards its counterpart in `others`, in place."""
    if hasattr(torch, "_foreach_lerp_"):  # one call: many small tensors take no longer than one
        torch._foreach_lerp_(kept, others, share)
        return
    for one, other in zip(kept, others, strict=True):
        one.lerp_(other, share)


def rnn_as_loop(mode: str) -> AbstractContextManager[None]:
    """Return a context in which torch.export writes an RNN as a loop over a dynamic time.

    mode: LSTM or GRU.

    Raises ImportError if this version of torch has no such switch.
    """
    patches = import_module("torch.export._patches")
    name = f"register_{mode.lower()}_while_loop_decomposition"
    if not hasattr(patches, name):
        raise ImportError(name)
    return getattr(patches, name)()
