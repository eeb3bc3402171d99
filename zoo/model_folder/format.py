"""Write and read a model folder. Reading is strict and runs no code from the folder.

Here a model is plain data: config, weights and tokenizers. `zoo.loading` and `zoo.task` know its
class and build it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.files import atomic, write_text
from zoo.model_folder.card import card
from zoo.model_folder.quantize import Form, pack, unpack
from zoo.model_folder.verify import EXPECTED, FORMAT, TARGET, line_of, locate, sha256, verified
from zoo.text.tokenizers import TOKENIZERS, Tokenizer


@dataclass(frozen=True)
class Model:
    """A model to write: everything that its folder and its card contain."""

    config: dict[str, Any]  # task, options, generation, end_ids
    backbone: dict[str, Any]  # options of the backbone
    weights: Mapping[str, Tensor]
    tokenizers: Sequence[Tokenizer]  # one, or source and target
    reads: str  # the LSTM output that the task reads
    why: str  # the reason, for the card
    parameter_count: int


@dataclass(frozen=True)
class Saved:
    """A verified model folder whose module is not built yet."""

    folder: Path
    config: dict[str, Any]
    tokenizers: list[Tokenizer]  # one, or source and target

    @property
    def path(self) -> Path:
        """config.json of the folder, for error messages."""
        return self.folder / "config.json"

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
    is not a model folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    config = {
        "format": FORMAT,
        **model.config,
        "backbone": model.backbone,
        "tokenizer": model.tokenizers[0].kind,
        "metadata": metadata or {},
    }
    names = ["config.json", "model.safetensors", "README.md"]
    names += save_tokenizers(model.tokenizers, folder)
    with atomic(folder / "model.safetensors") as file:
        file.write(save(pack(model.weights, weights)))
    write_text(folder / "config.json", json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    shown = card(
        model.config["task"],
        model.reads,
        model.why,
        model.parameter_count,
        model.tokenizers[0],
        metadata or {},
    )
    write_text(folder / "README.md", shown)
    if expected:
        names.append(EXPECTED)
        text = json.dumps([*expected], indent=1, ensure_ascii=False)
        write_text(folder / EXPECTED, text + "\n")
    else:
        (folder / EXPECTED).unlink(missing_ok=True)
    manifest = {"files": {name: sha256(folder / name) for name in names}}
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")


def read_model(name: str | Path) -> Saved:
    """Verify and read a model folder, given its path or its shipped name.

    Raises InputError that names the faulty file, or lists the shipped names.
    """
    folder = locate(name)
    config, names = verified(folder)
    has_target = any(name.startswith(TARGET) for name in names)
    return Saved(folder, config, load_tokenizers(folder, config["tokenizer"], has_target))


def save_tokenizers(tokenizers: Sequence[Tokenizer], folder: Path) -> list[str]:
    """Write the one or two tokenizers of a model. Return the names of their files."""
    written = []
    for prefix, tokenizer in zip(("", TARGET), tokenizers, strict=False):
        tokenizer.save(folder, prefix)
        written.append(f"{prefix}{tokenizer.file}")
    return written


def load_tokenizers(folder: Path, kind: str, has_target: bool) -> list[Tokenizer]:
    """Load the tokenizer of a folder, and with `has_target` that of the target side after it."""
    loader = TOKENIZERS[kind]
    return [loader.load(folder, prefix) for prefix in ("", TARGET)[: 1 + has_target]]
