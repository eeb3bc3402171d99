"""Write and read a model folder. Reading is strict and runs no code from the folder.

Here a model is plain data: config, weights and processors. `zoo.loading` and `zoo.task` know its
class and build it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from zoo.data.processors import PROCESSORS, Processor, Scaler
from zoo.errors import InputError
from zoo.files import atomic, write_text
from zoo.model_folder import format_1
from zoo.model_folder.card import card
from zoo.model_folder.quantize import Form, pack, unpack
from zoo.model_folder.shapes import built, check_counts, read_shapes
from zoo.model_folder.verify import (
    EXPECTED,
    FORMAT,
    MANIFEST,
    line_of,
    locate,
    manifest_of,
    processor_files,
    sha256,
    verified,
)
from zoo.text.tokenizers import Tokenizer

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Model:
    """A model to write: everything that its folder and its card contain."""

    task: str  # the task's name
    config: dict[str, Any]  # all options
    backbone: dict[str, Any]  # all options of the backbone
    processors: Mapping[str, Processor]
    weights: Mapping[str, Tensor]
    reads: str  # the LSTM output that the task reads
    why: str  # the reason, for the card
    parameter_count: int


@dataclass(frozen=True)
class Saved:
    """A verified model folder whose module is not built yet."""

    folder: Path
    task: str
    config: dict[str, Any]
    backbone: dict[str, Any]
    processors: dict[str, Processor]
    metadata: dict[str, Any]

    @property
    def path(self) -> Path:
        """config.json of the folder, for error messages."""
        return self.folder / "config.json"

    def check_input(self, vocabulary_size: int | None, input_size: int | None) -> None:
        """Raise InputError unless the tokenizer, or the scaler, fits the input of the backbone."""
        for name, wanted in (("tokenizer", vocabulary_size), ("scaler", input_size)):
            processor = self.processors.get(name)
            if wanted is not None and processor is None:
                raise InputError(
                    f"{self.path}: processors.{name} is missing: the backbone reads it"
                )
            if isinstance(processor, Tokenizer) and len(processor) != wanted:
                raise InputError(
                    f"{self.path}: the tokenizer has {len(processor)} ids, the backbone {wanted}"
                )
            if isinstance(processor, Scaler) and processor.width != wanted:
                raise InputError(
                    f"{self.path}: the scaler has {processor.width} features, the backbone {wanted}"
                )

    def build(self, make: Callable[[], Module]) -> Module:
        """Build the module of the model.

        Raises InputError before anything large is made that the weights in the folder do not fill,
        and what `make` raises.
        """
        weights = self.folder / "model.safetensors"
        stored = read_shapes(weights)
        check_counts(self.path, self.config, self.processors, stored)
        return built(make, stored, weights)

    def fill(self, module: nn.Module) -> None:
        """Load the weights into a module.

        Raises InputError for a missing, additional or misshapen tensor.
        """
        path = self.folder / "model.safetensors"
        try:
            weights = unpack(load_file(path), module.state_dict())
            module.load_state_dict(weights, strict=True)
        except (SafetensorError, RuntimeError, ValueError) as error:
            raise InputError(f"{path}: {line_of(error)}") from None


def save_model(
    model: Model,
    folder: str | Path,
    metadata: dict[str, Any] | None = None,
    weights: Form = "fp32",
    expected: Sequence[dict[str, Any]] = (),
) -> None:
    """Write a model folder.

    `metadata` (metrics, data, command, …) goes into config.json and the card. `weights` is the
    storage format of `zoo.model_folder.quantize`. `expected` holds inputs and their answers, to
    check the model later.

    An existing manifest is deleted first, and the new one is written last. So an incomplete folder
    is not a model folder. Files of an earlier model there that this one lacks are removed, unless
    they have been changed since.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    before = _saved_files(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    config = {
        "format": FORMAT,
        "task": model.task,
        "config": model.config,
        "backbone": model.backbone,
        "processors": kinds_of(model.processors),
        "metadata": _finite(metadata or {}),
    }
    names = ["config.json", "model.safetensors", "README.md"]
    names += save_processors(model.processors, folder)
    with atomic(folder / "model.safetensors") as file:
        file.write(save(pack(model.weights, weights)))
    write_text(folder / "config.json", json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    shown = card(
        model.task,
        model.reads,
        model.why,
        model.parameter_count,
        model.processors,
        metadata or {},
    )
    write_text(folder / "README.md", shown)
    if expected:
        names.append(EXPECTED)
        text = json.dumps([*expected], indent=1, ensure_ascii=False)
        write_text(folder / EXPECTED, text + "\n")
    manifest = {"files": {name: sha256(folder / name) for name in names}}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    for name in before - {*names}:
        (folder / name).unlink()


def _saved_files(folder: Path) -> set[str]:
    """Return the files of the model in a folder that are as they were saved."""
    try:
        listed = manifest_of(folder)
    except InputError:
        return set()
    paths = {name: folder / name for name in listed}
    return {n for n, path in paths.items() if path.is_file() and sha256(path) == listed[n]}


def read_model(name: str | Path) -> Saved:
    """Verify and read a model folder, given its path or its shipped name.

    Raises InputError that names the faulty file, or lists the shipped names.
    """
    folder = locate(name)
    config, files = verified(folder)
    if config["format"] == format_1.FORMAT:
        own, processors = format_1.read(folder, config, files)
    else:
        own, processors = config["config"], load_processors(folder, config["processors"])
    saved = Saved(folder, config["task"], own, config["backbone"], processors, config["metadata"])
    if not isinstance(saved.task, str):
        raise InputError(f"{saved.path}: task {saved.task!r} is no name")
    for section in ("config", "backbone"):
        if not isinstance(getattr(saved, section), dict):
            raise InputError(f"{saved.path}: {section} is no object")
    return saved


def save_processors(processors: Mapping[str, Processor], folder: Path) -> list[str]:
    """Write each processor to its file in a folder. Return the names of the files."""
    files = processor_files(folder, kinds_of(processors))
    for name, processor in processors.items():
        processor.save(folder / files[name])
    return [*files.values()]


def load_processors(folder: Path, kinds: Mapping[str, str]) -> dict[str, Processor]:
    """Load the processors of a folder: `kinds` maps their names to kinds. Raises InputError."""
    files = processor_files(folder, kinds)
    return {name: _load(kinds[name], folder / file) for name, file in files.items()}


def _finite(value: Any) -> Any:
    """Return metadata with null for each NaN and Infinity, which JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def kinds_of(processors: Mapping[str, Processor]) -> dict[str, str]:
    """Return the kind of each processor, as `load_processors` takes them."""
    return {name: processor.kind for name, processor in processors.items()}


def _load(kind: str, path: Path) -> Processor:
    return cast(Processor, PROCESSORS[kind].load(path))
