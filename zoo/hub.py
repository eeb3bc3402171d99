"""The model folder: what training writes is what `load` reads.

    config.json         task, options, backbone, tokenizer; metrics, data, environment
    model.safetensors   the weights
    vocabulary.json or sentencepiece.model
    README.md           the model card
    manifest.json       sha256 of each of these files

Loading is strict and runs nothing: no pickle, no code, no YAML. A missing, changed or unknown
file, key, tensor or value is an error that names it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from zoo.backbone import Backbone
from zoo.catalogue import find
from zoo.checkpoint import atomic, write_text
from zoo.config import arguments
from zoo.errors import InputError
from zoo.task import Task
from zoo.text import TOKENIZERS, Tokenizer

FORMAT = 1
SHIPPED = Path(__file__).resolve().parent / "pretrained"
TARGET = "target."  # begins the file of the target side's own tokenizer
FACTS = (  # of a report, those that go into the model folder
    "data", "reads", "test", "valid", "baseline", "best_epoch", "rows", "parameters",
    "train_seconds", "seed", "precision", "command", "versions",
)  # fmt: skip
KEYS = {"format", "task", "options", "backbone", "tokenizer", "facts"}


def save_model(task: Task, folder: str | Path, facts: dict[str, Any] | None = None) -> None:
    """Write a model folder. `facts` (metrics, data, command, …) go into config.json and the card.

    The manifest goes first and comes back last: a folder that was not written to its end is none.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    config = {
        "format": FORMAT,
        "task": task.name,
        "options": task.options,
        "backbone": task.backbone.options,
        "tokenizer": task.tokenizer.kind,
        "facts": facts or {},
    }
    tokenizers = save_tokenizers(task, folder)
    weights = {name: w.detach().cpu().contiguous() for name, w in task.state_dict().items()}
    with atomic(folder / "model.safetensors") as file:
        file.write(save(weights))
    write_text(folder / "config.json", json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "README.md", card(task, facts or {}))
    names = ["config.json", "model.safetensors", "README.md", *tokenizers]
    manifest = {"files": {name: _sha256(folder / name) for name in names}}
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")


def load(name: str | Path, device: str = "cpu") -> Task:
    """The model of a folder, or a shipped one by its name, ready to predict.

    Raises InputError that names the file at fault, or lists the shipped names.
    """
    folder = _locate(name)
    config, names = _verified(folder)
    try:
        kind = find(config["task"])
        own = any(name.startswith(TARGET) for name in names)
        tokenizer, *others = load_tokenizers(folder, config["tokenizer"], own)
        backbone = Backbone(
            **arguments(Backbone.__init__, config["backbone"], "backbone", {"self"})
        )
        given = {"self", "backbone", "tokenizer", "target_tokenizer"}
        options = arguments(kind.__init__, config["options"], "options", given)
        if others:
            options["target_tokenizer"] = others[0]
        task = kind(backbone, tokenizer, **options)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'config.json'}: {error}") from None
    if backbone.options["vocabulary_size"] not in (None, len(tokenizer)):
        raise InputError(f"{folder}: the tokenizer has {len(tokenizer)} ids, the backbone not")
    _fill(task, folder / "model.safetensors")
    task.facts = config["facts"]
    return task.to(torch.device(device)).eval()


def task_of(name: str | Path) -> str:
    """The task of a model folder, or of a shipped model. Raises InputError."""
    path = _locate(name) / "config.json"
    task = _json(path).get("task")
    if not isinstance(task, str):
        raise InputError(f"{path}: names no task")
    return task


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


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(str(p.parent.relative_to(SHIPPED)) for p in SHIPPED.glob("*/*/manifest.json"))


def _locate(name: str | Path) -> Path:
    for folder in (Path(name), SHIPPED / name):
        if (folder / "manifest.json").is_file():
            return folder
    if Path(name).is_dir():
        unfinished = (Path(name) / "checkpoint" / "checkpoint.pt").is_file()
        cure = f"the training did not end; go on with resume={name}" if unfinished else "no model"
        raise InputError(f"{name}: no manifest.json: {cure}")
    there = ", ".join(shipped()) or "none"
    raise InputError(f"{name}: neither a model folder nor a shipped model; shipped: {there}")


def _verified(folder: Path) -> tuple[dict[str, Any], set[str]]:
    """config.json and the names of all files, after each had the hash that it should have."""
    manifest = _json(folder / "manifest.json")
    files = manifest.get("files")
    if not isinstance(files, dict) or not {"config.json", "model.safetensors"} <= set(files):
        raise InputError(f"{folder / 'manifest.json'}: does not list the files of a model")
    for name, digest in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise InputError(f"{path}: missing")
        if _sha256(path) != digest:
            raise InputError(f"{path}: its contents are not those that were saved (sha256 differs)")
    config = _json(folder / "config.json")
    if wrong := set(config) ^ KEYS:
        raise InputError(f"{folder / 'config.json'}: unknown or missing key {sorted(wrong)[0]!r}")
    if config["format"] != FORMAT:
        raise InputError(f"{folder / 'config.json'}: format {config['format']}, not {FORMAT}")
    if config["tokenizer"] not in TOKENIZERS:
        raise InputError(f"{folder / 'config.json'}: tokenizer {config['tokenizer']!r} is unknown")
    if TOKENIZERS[config["tokenizer"]].file not in files:
        raise InputError(f"{folder / 'manifest.json'}: does not list the tokenizer")
    return config, set(files)


def _fill(task: nn.Module, path: Path) -> None:
    """Put the weights of a file into a task: each one there, each of the right shape and type."""
    try:
        weights = load_file(path)
        task.load_state_dict(weights, strict=True)
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: not an object")
    return value


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def card(task: Task, facts: dict[str, Any]) -> str:
    """The model card, in Markdown."""
    lines = [
        f"# {task.name} on {facts.get('data', 'unnamed data')}", "",
        f"Reads `{task.reads}` of the LSTM: {task.why}.", "",
        f"- {task.parameter_count:,} parameters, tokenizer of {len(task.tokenizer):,} {task.tokenizer.kind}",
    ]  # fmt: skip
    for name in ("command", "seed", "precision", "train_seconds"):
        if name in facts:
            lines.append(f"- {name}: `{facts[name]}`")
    for split in ("test", "baseline"):
        for name, value in (facts.get(split) or {}).items():
            shown = f"{value:.4f}" if isinstance(value, float) else value
            lines.append(f"- {split} {name}: {shown}")
    use = 'import zoo\n\nzoo.load("FOLDER").predict(["…"])'
    return "\n".join([*lines, "", "```python", use, "```", ""])
