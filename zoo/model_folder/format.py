"""Writing a model folder, and reading one: strictly, and running nothing that stands in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from zoo.config import arguments
from zoo.errors import InputError
from zoo.files import atomic, write_text
from zoo.generation.config import Search
from zoo.model_folder.card import card
from zoo.model_folder.quantize import Form, pack, unpack
from zoo.model_folder.verify import EXPECTED, FORMAT, OWN, TARGET, line_of, locate, sha256, verified
from zoo.multitask import Shared
from zoo.nn.backbone import Backbone
from zoo.registry import find
from zoo.task import Task
from zoo.text.tokenizers import TOKENIZERS, Tokenizer


def save_model(
    task: Task,
    folder: str | Path,
    facts: dict[str, Any] | None = None,
    weights: Form = "fp32",
    expected: Sequence[dict[str, Any]] = (),
) -> None:
    """Write a model folder. `facts` (metrics, data, command, …) go into config.json and the card;
    `weights` says in how many bytes, see `zoo.model_folder.quantize`; `expected` are inputs and answers, for
    whoever wants to know whether the model still answers as it did.

    The manifest goes first and comes back last: a folder that was not written to its end is none.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    config = {
        "format": FORMAT,
        **task.config,
        "backbone": task.backbone.options,
        "tokenizer": task.tokenizer.kind,
        "facts": facts or {},
    }
    names = ["config.json", "model.safetensors", "README.md", *save_tokenizers(task, folder)]
    with atomic(folder / "model.safetensors") as file:
        file.write(save(pack(task.state_dict(), weights)))
    write_text(folder / "config.json", json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "README.md", card(task, facts or {}))
    if expected:
        names.append(EXPECTED)
        text = json.dumps([*expected], indent=1, ensure_ascii=False)
        write_text(folder / EXPECTED, text + "\n")
    else:
        (folder / EXPECTED).unlink(missing_ok=True)
    manifest = {"files": {name: sha256(folder / name) for name in names}}
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")


def load(name: str | Path, device: str = "cpu") -> Task:
    """The model of a folder, or a shipped one by its name, ready to predict.

    Raises InputError that names the file at fault, or lists the shipped names.
    """
    folder = locate(name)
    config, names = verified(folder)
    own = any(name.startswith(TARGET) for name in names)
    tokenizers = load_tokenizers(folder, config["tokenizer"], own)
    try:
        backbone = Backbone(
            **arguments(Backbone.__init__, config["backbone"], "backbone", {"self"})
        )
        build = _shared if config["task"] == "shared" else _head
        task = build({name: config[name] for name in OWN}, backbone, tokenizers)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise InputError(f"{folder / 'config.json'}: {line_of(error)}") from None
    if backbone.options["vocabulary_size"] not in (None, len(tokenizers[0])):
        raise InputError(f"{folder}: the tokenizer has {len(tokenizers[0])} ids, the backbone not")
    _fill(task, folder / "model.safetensors")
    task.facts = config["facts"]
    return task.to(torch.device(device)).eval()


def _head(config: dict[str, Any], backbone: Backbone, tokenizers: Sequence[Tokenizer]) -> Task:
    kind = find(config["task"])
    given = {"self", "backbone", "tokenizer", "target_tokenizer"}
    options = arguments(kind.__init__, config["options"], "options", given)
    if tokenizers[1:]:
        options["target_tokenizer"] = tokenizers[1]
    task = kind(backbone, tokenizers[0], **options)
    task.search = Search(**arguments(Search, config["search"], "search"))
    task.closing = [int(i) for i in config["closing"]]
    if not {*task.closing} <= {*range(len(task.tokenizer))}:
        raise ValueError(f"closing={task.closing}: not ids of the tokenizer")
    return task


def _shared(config: dict[str, Any], backbone: Backbone, tokenizers: Sequence[Tokenizer]) -> Task:
    heads = {}
    for name, own in config["options"]["heads"].items():
        if {*own} != OWN | {"writes"}:
            raise ValueError(f"options.heads.{name}: {sorted({*own} ^ (OWN | {'writes'}))[0]!r}")
        heads[name] = _head(own, backbone, tokenizers if own["writes"] else tokenizers[:1])
    return Shared(backbone, heads)


def save_tokenizers(task: Task, folder: Path) -> list[str]:
    """Write a task's tokenizers, one or two; the names of their files."""
    written = []
    for prefix, tokenizer in (("", task.tokenizer), (TARGET, task.target_tokenizer)):
        if tokenizer is not None:
            tokenizer.save(folder, prefix)
            written.append(f"{prefix}{tokenizer.file}")
    return written


def load_tokenizers(folder: Path, kind: str, own: bool) -> list[Tokenizer]:
    """The tokenizer of a folder, and the target side's `own` after it."""
    loader = TOKENIZERS[kind]
    return [loader.load(folder, prefix) for prefix in ("", TARGET)[: 1 + own]]


def _fill(task: nn.Module, path: Path) -> None:
    """Put the weights of a file into a task: each one there, each of the right shape and type."""
    try:
        weights = unpack(load_file(path), task.state_dict())
        task.load_state_dict(weights, strict=True)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: {line_of(error)}") from None
