"""Which engine, and which kernel inside torch, computes an LSTM – and which condition decides it.

The conditions are torch's own (2.11 to 2.13), read in its sources: `aten/src/ATen/native/RNN.cpp`
chooses oneDNN or cuDNN, `aten/src/ATen/native/cudnn/RNN.cpp` chooses cuDNN's algorithm. Nothing
here runs or needs a device: it is arithmetic on shapes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from zoo import device as machine
from zoo.rnn.cuda import lstm_cuda
from zoo.rnn.cuda.buffers import Case
from zoo.rnn.cuda.cuda_graph import MOST_BYTES
from zoo.rnn.stack import choose

STANDARD = "CUDNN_RNN_ALGO_STANDARD"
PERSISTENT = "CUDNN_RNN_ALGO_PERSIST_STATIC"
SMALL = "CUDNN_RNN_ALGO_PERSIST_STATIC_SMALL_H"
ALIGNED = 128  # what the persistent kernel wants hidden_size and input_size to be multiples of


@dataclass(frozen=True)
class Shape:
    """What decides about a kernel: an LSTM's sizes and a batch's."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    proj_size: int = 0
    layer_norm: bool = False
    split: bool = False  # one call per layer and direction, also where no row is padded
    batch: int = 1
    time: int = 1
    lengths: bool = False  # rows of different lengths


@dataclass(frozen=True)
class Device:
    """What torch asks a device before it chooses."""

    kind: str  # "cpu" or "cuda"
    name: str = ""
    capability: tuple[int, int] = (9, 0)
    processors: int = 132  # streaming multiprocessors
    cudnn: int = 91300  # its version
    bf16: bool = True  # a processor's bf16 instructions (AVX512-BF16 or AMX), a GPU's
    onednn: bool = True
    triton: bool = True  # whether Triton can be imported


V100 = Device("cuda", "V100", (7, 0), 80, bf16=False)
T4 = Device("cuda", "T4", (7, 5), 40, bf16=False)
A100 = Device("cuda", "A100", (8, 0), 108)
H100 = Device("cuda", "H100", (9, 0), 132)


@dataclass(frozen=True)
class Condition:
    """One thing that a kernel asks for, and whether it is so."""

    requirement: str
    holds: bool


@dataclass(frozen=True)
class Explanation:
    """What would run. `str()` of it is for people."""

    engine: str
    kernel: str  # forward; what runs backward is said where it differs
    conditions: list[Condition]  # of the fastest kernel there is for the device
    rewrites: list[str] = field(default_factory=list)  # lossless ones that would help

    @property
    def failing(self) -> list[str]:
        """What the fastest kernel wants and does not get."""
        return [condition.requirement for condition in self.conditions if not condition.holds]

    def __str__(self) -> str:
        lines = [f"engine {self.engine}: {self.kernel}"]
        lines += [f"  {'yes' if c.holds else 'no '} {c.requirement}" for c in self.conditions]
        return "\n".join(lines + [f"  would help: {rewrite}" for rewrite in self.rewrites])


def explain(
    shape: Shape, device: Device | torch.device | str, dtype: torch.dtype, engine: str = "auto"
) -> Explanation:
    """What runs a batch of `shape` in `dtype` on a device.

    `device` is a Device, or the name of one: "cuda" is the one at hand, or an H100 where there is
    none.
    """
    if not isinstance(device, Device):
        device = describe(torch.device(device))
    engine = choose(engine, shape.layer_norm)
    if engine != "torch":
        asked = [Condition("no layer norm: the fused kernels have none", not shape.layer_norm)]
        if not shape.layer_norm:
            asked = [Condition(f"engine='auto' or 'torch', not {engine!r}", False)]
        if engine == "reference":
            return Explanation(engine, "one gate at a time, backward by autograd", asked)
        covered = _pointwise(shape, device, dtype) if device.kind == "cuda" else []
        return Explanation(engine, _hoisted(device, covered), asked + covered)
    if device.kind == "cuda":
        return _cudnn(shape, device, dtype)
    return _onednn(shape, device, dtype)


def describe(device: torch.device) -> Device:
    """The conditions that this machine fulfils."""
    if device.type != "cuda":
        bf16 = machine.native_bf16()
        return Device("cpu", "cpu", bf16=bf16, onednn=torch.backends.mkldnn.is_available())
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


def _pointwise(shape: Shape, device: Device, dtype: torch.dtype) -> list[Condition]:
    """What the hoisted engine asks for on a CUDA device before it leaves its loop."""
    has = (True, shape.layer_norm, shape.lengths)
    case = Case(shape.time, shape.batch, shape.hidden_size, dtype, *has)
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


def _hoisted(device: Device, covered: list[Condition]) -> str:
    """What the hoisted engine runs, given the conditions of its kernels on a CUDA device."""
    loop = "one product and some calls on whole gates a step, backward by hand"
    if device.kind != "cuda":
        return loop
    if not all(condition.holds for condition in covered[:-1]):
        return f"{loop}, each launched by Python"
    steps = "one product and one Triton kernel a step, backward by hand"
    if not covered[-1].holds:
        return f"{steps}, each launched by Python"
    return f"{steps}; from a shape's second call on, a CUDA graph launches all steps at once"


def _onednn(shape: Shape, device: Device, dtype: torch.dtype) -> Explanation:
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


def _cudnn(shape: Shape, device: Device, dtype: torch.dtype) -> Explanation:
    if dtype == torch.bfloat16 and (device.cudnn < 91300 or device.capability < (8, 0)):
        wants = Condition("bfloat16 wants cuDNN 9.13 and compute capability 8.0", False)
        return Explanation(
            "torch",
            "torch's own loop, several kernels a step",
            [wants],
            ["float16: cuDNN takes it everywhere"],
        )
    shape = replace(shape, split=shape.split or shape.lengths)
    conditions = _persistent(shape, device, dtype)
    small = dtype != torch.float64 and device.capability >= (6, 0) and not shape.proj_size
    if small and shape.hidden_size <= 128:
        kernel = SMALL
    elif small and shape.hidden_size <= 192:
        kernel = f"{SMALL} forward, {STANDARD} backward"
    else:
        kernel = PERSISTENT if all(condition.holds for condition in conditions) else STANDARD
    return Explanation("torch", kernel, conditions, _rewrites(shape, device, dtype, kernel))


def _persistent(shape: Shape, device: Device, dtype: torch.dtype) -> list[Condition]:
    """What torch asks for before it takes cuDNN's persistent kernel."""
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
            all(size % ALIGNED == 0 for size in _inputs(shape)),
        ),
        Condition(_asked(device), _fits(shape.batch, shape.time, device)),
        Condition(
            "Volta, or compute capability 8.0 or newer but 8.6 with 98 processors",
            _has_persistent(device),
        ),
    ]


def _has_persistent(device: Device) -> bool:
    """Of the devices, torch leaves out Turing, small ones, and sm_86."""
    if device.capability[0] == 7:
        return device.capability != (7, 5)
    return device.capability >= (8, 0) and device.capability[1] != 6 and device.processors >= 98


def _asked(device: Device) -> str:
    if device.capability[0] == 7:
        return (
            "batch 8, or a multiple of 16 but 80 and 112; 40 steps up to 128 rows, 20 up to "
            "96, 10 up to 32"
        )
    return "batch a multiple of 8, at most 128"


def _fits(batch: int, time: int, device: Device) -> bool:
    """Whether a batch has the rows that the persistent kernel wants."""
    if device.capability[0] != 7:
        return batch % 8 == 0 and batch <= 128
    rows = batch == 8 or (batch % 16 == 0 and batch not in (80, 112))
    most = 128 if time >= 40 else 96 if time >= 20 else 32 if time >= 10 else 0
    return rows and batch <= most


def _inputs(shape: Shape) -> list[int]:
    """The input sizes of the first layer and of the others, as the kernel sees them."""
    below = shape.proj_size or shape.hidden_size
    sizes = [shape.input_size, *[below * (2 if shape.bidirectional else 1)][: shape.num_layers - 1]]
    return [size + 1 if shape.lengths else size for size in sizes]


def _rewrites(shape: Shape, device: Device, dtype: torch.dtype, kernel: str) -> list[str]:
    """What would make the persistent kernel possible without changing a result."""
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
    first = _inputs(shape)[0]
    if first % ALIGNED:
        found.append(
            f"zero-pad the input to {shape.input_size + -first % ALIGNED}: zoo.rnn.zero_pad"
        )
    enough = next((n for n in range(shape.batch, 129) if _fits(n, shape.time, device)), shape.batch)
    if enough > shape.batch:
        found.append(f"pad the batch to {enough} rows, of any content")
    return found
