"""Compare the tensors of a weights file with those that a config implies, before they are made.

The header of a safetensors file names each tensor with its shape. A module that is built on torch's
device "meta" has the same names and shapes and takes no memory. So a config of a stranger that
implies other tensors than the file holds, however large, costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from zoo.data.processors import LabelEncoder, Processor
from zoo.errors import InputError
from zoo.files import parse_json
from zoo.model_folder.quantize import SCALE

LONGEST_HEADER = 1 << 24  # bytes
MANY = 1_000  # values or labels that need no tensor of their own

Shape = tuple[int, ...]
Module = TypeVar("Module", bound=nn.Module)


def read_shapes(path: Path) -> dict[str, Shape]:
    """Return the shape of each tensor in a safetensors file. Raises InputError for no such file."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LONGEST_HEADER:
                raise ValueError(f"its header is of {length:,} bytes, more than {LONGEST_HEADER:,}")
            header = parse_json(file.read(length).decode("utf-8"))
        return {name: _shape(name, value) for name, value in header.items() if name[:2] != "__"}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: no safetensors file: {' '.join(str(error).split())}") from None


def _shape(name: str, value: Any) -> Shape:
    """Return the shape in a header's entry. Raises ValueError."""
    shape = value.get("shape") if isinstance(value, dict) else None
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"{name} has the shape {shape!r}")
    return tuple(shape)


def check_counts(
    path: Path,
    config: Mapping[str, Any],
    processors: Mapping[str, Processor],
    stored: Mapping[str, Shape],
) -> None:
    """Raise InputError for more values or labels than the stored tensors can be of.

    `path` is that of config.json. The options bound the number of layers.
    """
    there = f"the weights have {len(stored):,} tensors"
    values = _count_values(config)
    if values > MANY + len(stored):
        raise InputError(f"{path}: config has {values:,} values: {there}")
    sizes = {size for shape in stored.values() for size in shape}
    for name, processor in processors.items():
        if isinstance(processor, LabelEncoder) and len(processor) > MANY:
            if len(processor) in sizes:
                continue
            raise InputError(
                f"{path.parent}: {name}: {len(processor):,} labels, no tensor has them"
            )


def _count_values(value: Any) -> int:
    """Return the number of values inside nested objects and lists, themselves included."""
    count = 0
    waiting = [value]
    while waiting:
        one = waiting.pop()
        count += 1
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, (list, tuple)):
            waiting += one
    return count


def built(make: Callable[[], Module], stored: Mapping[str, Shape], path: Path) -> Module:
    """Build a module, after its tensors without memory were compared with those in the file `path`.

    Its first weights come from a generator of its own. Raises InputError that names a tensor, and
    what `make` raises.
    """
    try:
        with torch.device("meta"):
            wanted = {name: tuple(each.shape) for name, each in make().state_dict().items()}
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error):
            raise
        wanted = None  # a task from outside that reads values while it is built
    if wanted is not None:
        _compare(wanted, stored, path)
    with OwnGenerator():
        return make()


def _compare(wanted: Mapping[str, Shape], stored: Mapping[str, Shape], path: Path) -> None:
    """Raise InputError unless a file has exactly the wanted tensors, with their scales if any."""
    scales = {name + SCALE for name in wanted}
    missing = sorted({*wanted} - {*stored})
    unexpected = sorted({*stored} - {*wanted} - scales)
    for kind, names in (("Missing", missing), ("Unexpected", unexpected)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{path}: {kind} key(s) in state_dict: {names[0][:100]}{more}")
    for name, shape in wanted.items():
        if shape != stored[name]:
            raise InputError(
                f"{path}: size mismatch for {name}: {_in_words(stored[name])}, "
                f"config.json says {_in_words(shape)}"
            )


def _in_words(shape: Shape) -> str:
    return f"{' x '.join(map(str, shape)) or 'one'} values" if math.prod(shape) else "no values"


class OwnGenerator(torch.overrides.TorchFunctionMode):
    """Lets all random numbers on the CPU, of this thread, come from a generator of its own.

    So nothing is drawn from torch's global one. Within it, the weights of a new module are the same
    each time.
    """

    DRAWS = frozenset(
        {
            *(getattr(torch.Tensor, f"{name}_") for name in ("normal", "uniform", "bernoulli")),
            *(getattr(torch.Tensor, f"{name}_") for name in ("exponential", "random", "geometric")),
            *(getattr(torch.Tensor, f"{name}_") for name in ("cauchy", "log_normal")),
            *(getattr(torch, name) for name in ("rand", "randn", "randint", "randperm")),
            *(getattr(torch, name) for name in ("normal", "bernoulli", "multinomial")),
            *(getattr(nn.init, name) for name in ("normal_", "uniform_", "kaiming_uniform_")),
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function in self.DRAWS and kwargs.get("generator") is None:
            kwargs["generator"] = self.generator
        return function(*args, **kwargs)
