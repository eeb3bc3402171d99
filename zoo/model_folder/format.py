"""Writing a model folder, and reading one: strictly, and running nothing that stands in it.

A model is plain data here: what its config says, its weights, its tokenizers. Which class it is, and
how that is built again, is known above.
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
    """A model as it is written: all that a folder and its card are made of."""

    config: dict[str, Any]  # task, options, generation, end_ids
    backbone: dict[str, Any]  # its options
    weights: Mapping[str, Tensor]
    tokenizers: Sequence[Tokenizer]  # the target side's own is the second
    reads: str
    why: str
    parameter_count: int


@dataclass(frozen=True)
class Saved:
    """A folder that was read: verified, but not yet a model."""

    folder: Path
    config: dict[str, Any]
    tokenizers: list[Tokenizer]  # the target side's own is the second

    @property
    def path(self) -> Path:
        """The file that says what the model is, for an error message."""
        return self.folder / "config.json"

    def fill(self, module: nn.Module) -> None:
        """Put the weights into a module: each one there, each of the right shape and type."""
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
    """Write a model folder. `metadata` (metrics, data, command, …) go into config.json and the card;
    `weights` says in how many bytes, see `zoo.model_folder.quantize`; `expected` are inputs and answers,
    for whoever wants to know whether the model still answers as it did.

    The manifest goes first and comes back last: a folder that was not written to its end is none.
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
    """What the folder of a model holds, by its path or the name it is shipped under.

    Raises InputError that names the file at fault, or lists the shipped names.
    """
    folder = locate(name)
    config, names = verified(folder)
    own = any(name.startswith(TARGET) for name in names)
    return Saved(folder, config, load_tokenizers(folder, config["tokenizer"], own))


def save_tokenizers(tokenizers: Sequence[Tokenizer], folder: Path) -> list[str]:
    """Write a model's tokenizers, one or two; the names of their files."""
    written = []
    for prefix, tokenizer in zip(("", TARGET), tokenizers, strict=False):
        tokenizer.save(folder, prefix)
        written.append(f"{prefix}{tokenizer.file}")
    return written


def load_tokenizers(folder: Path, kind: str, own: bool) -> list[Tokenizer]:
    """The tokenizer of a folder, and the target side's `own` after it."""
    loader = TOKENIZERS[kind]
    return [loader.load(folder, prefix) for prefix in ("", TARGET)[: 1 + own]]
