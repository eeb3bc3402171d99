"""Predict which engine and which kernel inside torch compute an LSTM, and explain why.

The conditions come from the sources of torch 2.11 to 2.13: `aten/src/ATen/native/RNN.cpp` chooses
oneDNN or cuDNN, and `aten/src/ATen/native/cudnn/RNN.cpp` chooses cuDNN's algorithm. The prediction
is arithmetic on shapes: it runs no kernel and needs no device.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from zoo.device import native_bf16
from zoo.rnn.cpu import lstm_compiled
from zoo.rnn.cpu.compiler import compilers
from zoo.rnn.cuda import lstm_cuda
from zoo.rnn.cuda.buffers import Case
from zoo.rnn.cuda.cuda_graph import MOST_BYTES
from zoo.rnn.stack import choose

STANDARD = "CUDNN_RNN_ALGO_STANDARD"
PERSISTENT = "CUDNN_RNN_ALGO_PERSIST_STATIC"
SMALL = "CUDNN_RNN_ALGO_PERSIST_STATIC_SMALL_H"
ALIGNED = 128  # the persistent kernel needs hidden_size and input_size to be multiples of this


@dataclass(frozen=True)
class Shape:
    """The sizes of an LSTM and of a batch, which decide the kernel."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    proj_size: int = 0
    layer_norm: bool = False
    split: bool = False  # whether each layer and direction is a call of its own, even unpadded
    batch: int = 1
    time: int = 1
    lengths: bool = False  # whether the rows have different lengths


@dataclass(frozen=True)
class Device:
    """The properties of a device that torch's choice depends on."""

    kind: str  # "cpu" or "cuda"
    name: str = ""
    capability: tuple[int, int] = (9, 0)
    processors: int = 132  # streaming multiprocessors
    cudnn: int = 91300  # the version of cuDNN
    bf16: bool = True  # whether it has bf16 instructions (on a CPU: AVX512-BF16 or AMX)
    onednn: bool = True  # whether torch is built with oneDNN
    triton: bool = True  # whether Triton can be imported
    compiler: bool = True  # whether a C compiler is at hand, for a CPU


V100 = Device("cuda", "V100", (7, 0), 80, bf16=False)
T4 = Device("cuda", "T4", (7, 5), 40, bf16=False)
A100 = Device("cuda", "A100", (8, 0), 108)
H100 = Device("cuda", "H100", (9, 0), 132)


@dataclass(frozen=True)
class Condition:
    """One requirement of a kernel and whether it is met."""

    requirement: str
    holds: bool


@dataclass(frozen=True)
class Explanation:
    """The engine and the kernel that would run, with reasons. `str()` gives a readable report."""

    engine: str
    kernel: str  # the forward kernel; the backward kernel is named where it differs
    conditions: list[Condition]  # of the fastest kernel that the device has
    rewrites: list[str] = field(default_factory=list)  # lossless changes that would help

    @property
    def failing(self) -> list[str]:
        """The unmet requirements of the fastest kernel."""
        return [condition.requirement for condition in self.conditions if not condition.holds]

    def __str__(self) -> str:
        lines = [f"engine {self.engine}: {self.kernel}"]
        lines += [f"  {'yes' if c.holds else 'no '} {c.requirement}" for c in self.conditions]
        return "\n".join(lines + [f"  would help: {rewrite}" for rewrite in self.rewrites])


def explain(
    shape: Shape, device: Device | torch.device | str, dtype: torch.dtype, engine: str = "auto"
) -> Explanation:
    """Explain which engine and kernel would run a batch of `shape` in `dtype` on a device.

    `device` is a Device, or a name such as "cpu" or "cuda". "cuda" means this machine's GPU, or an
    H100 on a machine without one.
    """
    if not isinstance(device, Device):
        device = describe(torch.device(device))
    engine = choose(engine, shape.layer_norm)
    if engine != "torch":
        fused = [Condition("no layer norm: the fused kernels have none", not shape.layer_norm)]
        if not shape.layer_norm:
            fused = [Condition(f"engine='auto' or 'torch', not {engine!r}", False)]
        if engine == "reference":
            return Explanation(engine, "one gate at a time, backward by autograd", fused)
        wanted = _compiled_conditions if device.kind == "cpu" else _triton_conditions
        conditions = wanted(shape, device, dtype)
        return Explanation(engine, _hoisted_kernel(device, conditions), fused + conditions)
    if device.kind == "cuda":
        return _explain_cudnn(shape, device, dtype)
    return _explain_onednn(shape, device, dtype)


def describe(device: torch.device) -> Device:
    """Describe a device of this machine. Without a GPU, "cuda" is described as an H100."""
    if device.type != "cuda":
        onednn = torch.backends.mkldnn.is_available()
        compiler = bool(compilers())
        return Device("cpu", "cpu", bf16=native_bf16(), onednn=onednn, compiler=compiler)
    if not torch.cuda.is_available():
        return H100
    found = torch.cuda.get_device_properties(device)
    return Device(
        "cuda",
        found.name,
        (found.major, found.minor),
        found.multi_processor_count,
        torch.backends.cudnn.version() or 0,
        torch.cuda.is_bf16_supported(),
        triton=lstm_cuda.has_triton(),
    )


def _compiled_conditions(shape: Shape, device: Device, dtype: torch.dtype) -> list[Condition]:
    """Return the conditions under which the hoisted engine runs its steps in C on a CPU."""
    return [
        Condition("a C compiler: cc, gcc, clang or the package ziglang", device.compiler),
        Condition(
            f"float32, float64, layer norm, or hidden_size at most {lstm_compiled.WIDEST}",
            lstm_compiled.pays(dtype, shape.hidden_size, shape.layer_norm),
        ),
        Condition("no projection (proj_size=0)", shape.proj_size == 0),
    ]


def _triton_conditions(shape: Shape, device: Device, dtype: torch.dtype) -> list[Condition]:
    """Return the conditions under which the hoisted engine runs Triton kernels on a CUDA device."""
    case = Case(
        shape.time,
        shape.batch,
        shape.hidden_size,
        dtype,
        bias=True,
        layer_norm=shape.layer_norm,
        padded=shape.lengths,
    )
    oldest = ".".join(map(str, lstm_cuda.CAPABILITY))
    return [
        Condition("Triton can be imported", device.triton),
        Condition(
            f"compute capability {oldest} or newer", device.capability >= lstm_cuda.CAPABILITY
        ),
        Condition("float32, float16 or bfloat16", dtype in lstm_cuda.DTYPES),
        Condition("no projection (proj_size=0)", shape.proj_size == 0),
        Condition(
            f"hidden_size at most {lstm_cuda.WIDEST} with layer norm",
            not shape.layer_norm or shape.hidden_size <= lstm_cuda.WIDEST,
        ),
        Condition(f"buffers of at most {MOST_BYTES >> 20} MiB", case.nbytes <= MOST_BYTES),
    ]


def _hoisted_kernel(device: Device, conditions: list[Condition]) -> str:
    """Describe what the hoisted engine runs; `conditions` are those of its fast steps."""
    loop = "one product and some calls on whole gates a step, backward by hand"
    if device.kind != "cuda":
        compiled = all(condition.holds for condition in conditions)
        return "all steps in one call of C, backward by hand" if compiled else loop
    if not all(condition.holds for condition in conditions[:-1]):
        return f"{loop}, each launched by Python"
    steps = "one product and one Triton kernel a step, backward by hand"
    if not conditions[-1].holds:
        return f"{steps}, each launched by Python"
    return f"{steps}; from a shape's second call on, a CUDA graph launches all steps at once"


def _explain_onednn(shape: Shape, device: Device, dtype: torch.dtype) -> Explanation:
    """Explain the `torch` engine on a CPU."""
    conditions = [
        Condition("torch built with oneDNN", device.onednn),
        Condition("float32 or bfloat16", dtype in (torch.float32, torch.bfloat16)),
        Condition("no projection (proj_size=0)", shape.proj_size == 0),
    ]
    if dtype == torch.bfloat16:
        conditions.append(
            Condition("bf16 instructions (AVX512-BF16 or AMX): it crawls without", device.bf16)
        )
    fast = all(condition.holds for condition in conditions)
    kernel = "oneDNN, fused over all steps" if fast else "torch's own loop, several calls a step"
    rewrites = []
    if fast and dtype == torch.float32 and device.bf16:
        rewrites.append("torch.autocast('cpu', torch.bfloat16): bf16 instructions are there")
    return Explanation("torch", kernel, conditions, rewrites)


def _explain_cudnn(shape: Shape, device: Device, dtype: torch.dtype) -> Explanation:
    """Explain the `torch` engine on a CUDA device."""
    if dtype == torch.bfloat16 and (device.cudnn < 91300 or device.capability < (8, 0)):
        wants = Condition("bfloat16 wants cuDNN 9.13 and compute capability 8.0", False)
        return Explanation(
            "torch",
            "torch's own loop, several kernels a step",
            [wants],
            ["float16: cuDNN takes it everywhere"],
        )
    shape = replace(shape, split=shape.split or shape.lengths)
    conditions = _persistent_conditions(shape, device, dtype)
    small = dtype != torch.float64 and device.capability >= (6, 0) and not shape.proj_size
    if small and shape.hidden_size <= 128:
        kernel = SMALL
    elif small and shape.hidden_size <= 192:
        kernel = f"{SMALL} forward, {STANDARD} backward"
    else:
        kernel = PERSISTENT if all(condition.holds for condition in conditions) else STANDARD
    return Explanation("torch", kernel, conditions, _rewrites(shape, device, dtype, kernel))


def _persistent_conditions(shape: Shape, device: Device, dtype: torch.dtype) -> list[Condition]:
    """Return the conditions under which torch chooses cuDNN's persistent kernel."""
    return [
        Condition("float16", dtype == torch.float16),
        Condition("no projection (proj_size=0)", shape.proj_size == 0),
        Condition("one layer in a call", shape.num_layers == 1 or shape.split),
        Condition("one direction in a call", not shape.bidirectional or shape.split),
        Condition(
            "hidden_size a multiple of 128, at most 1024",
            shape.hidden_size % ALIGNED == 0 and shape.hidden_size <= 1024,
        ),
        Condition(
            "each layer's input_size a multiple of 128"
            + (" with the column that marks padding" if shape.lengths else ""),
            all(size % ALIGNED == 0 for size in _input_sizes(shape)),
        ),
        Condition(_batch_requirement(device), _batch_fits(shape.batch, shape.time, device)),
        Condition(
            "Volta, or compute capability 8.0 or newer but 8.6 with 98 processors",
            _has_persistent(device),
        ),
    ]


def _has_persistent(device: Device) -> bool:
    """Whether torch uses the persistent kernel here: not on Turing, sm_86 or small GPUs."""
    if device.capability[0] == 7:
        return device.capability != (7, 5)
    return device.capability >= (8, 0) and device.capability[1] != 6 and device.processors >= 98


def _batch_requirement(device: Device) -> str:
    """Describe the batches that the persistent kernel takes on the device."""
    if device.capability[0] == 7:
        return (
            "batch 8, or a multiple of 16 but 80 and 112; 40 steps up to 128 rows, 20 up to "
            "96, 10 up to 32"
        )
    return "batch a multiple of 8, at most 128"


def _batch_fits(batch: int, time: int, device: Device) -> bool:
    """Whether the persistent kernel takes a batch of this size and length."""
    if device.capability[0] != 7:
        return batch % 8 == 0 and batch <= 128
    size_fits = batch == 8 or (batch % 16 == 0 and batch not in (80, 112))
    most = 128 if time >= 40 else 96 if time >= 20 else 32 if time >= 10 else 0
    return size_fits and batch <= most


def _input_sizes(shape: Shape) -> list[int]:
    """Return the input sizes of the first and of the other layers, with any padding column."""
    below = shape.proj_size or shape.hidden_size
    sizes = [shape.input_size, *[below * (2 if shape.bidirectional else 1)][: shape.num_layers - 1]]
    return [size + 1 if shape.lengths else size for size in sizes]


def _rewrites(shape: Shape, device: Device, dtype: torch.dtype, kernel: str) -> list[str]:
    """List the changes that would allow the persistent kernel and keep every result."""
    if kernel in (PERSISTENT, SMALL) or dtype == torch.float64 or not _has_persistent(device):
        return []
    if shape.proj_size or shape.hidden_size > 1024:
        return []
    found = []
    if dtype != torch.float16:
        found.append("torch.autocast('cuda', torch.float16)")
    if not shape.split and (shape.num_layers > 1 or shape.bidirectional):
        found.append("one call per layer and direction")
    units = shape.hidden_size + -shape.hidden_size % ALIGNED
    if shape.hidden_size < units <= 1024:
        found.append(f"zero-pad hidden_size to {units}: zoo.rnn.zero_pad")
    first = _input_sizes(shape)[0]
    if first % ALIGNED:
        found.append(
            f"zero-pad the input to {shape.input_size + -first % ALIGNED}: zoo.rnn.zero_pad"
        )
    enough = next(
        (n for n in range(shape.batch, 129) if _batch_fits(n, shape.time, device)), shape.batch
    )
    if enough > shape.batch:
        found.append(f"pad the batch to {enough} rows, of any content")
    return found
