"""Writing a model folder, and reading one: strictly, and running nothing that stands in it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
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
from zoo.hub.card import card
from zoo.hub.compact import Form, pack, unpack
from zoo.search import Search
from zoo.shared import Shared
from zoo.task import Task
from zoo.text import TOKENIZERS, Tokenizer

FORMAT = 1
SHIPPED = Path(__file__).resolve().parents[1] / "pretrained"
EXPECTED = "expected.json"
TARGET = "target."  # begins the file of the target side's own tokenizer
KEYS = {"format", "task", "options", "backbone", "tokenizer", "search", "facts"}


def save_model(
    task: Task,
    folder: str | Path,
    facts: dict[str, Any] | None = None,
    weights: Form = "fp32",
    expected: Sequence[dict[str, Any]] = (),
) -> None:
    """Write a model folder. `facts` (metrics, data, command, …) go into config.json and the card;
    `weights` says in how many bytes, see `zoo.hub.compact`; `expected` are inputs and answers, for
    whoever wants to know whether the model still answers as it did.

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
        "search": {k: v for k, v in vars(task.search).items() if v != getattr(Search(), k)},
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
    try:
        own = any(name.startswith(TARGET) for name in names)
        tokenizers = load_tokenizers(folder, config["tokenizer"], own)
        backbone = Backbone(
            **arguments(Backbone.__init__, config["backbone"], "backbone", {"self"})
        )
        task: Task
        if config["task"] == "shared":
            task = _shared(config["options"], backbone, tokenizers)
        else:
            task = _head(config["task"], config["options"], backbone, tokenizers)
        task.search = Search(**arguments(Search, config["search"], "search"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / 'config.json'}: {error}") from None
    if backbone.options["vocabulary_size"] not in (None, len(tokenizers[0])):
        raise InputError(f"{folder}: the tokenizer has {len(tokenizers[0])} ids, the backbone not")
    _fill(task, folder / "model.safetensors")
    task.facts = config["facts"]
    return task.to(torch.device(device)).eval()


def _head(
    name: str, options: dict[str, Any], backbone: Backbone, tokenizers: Sequence[Tokenizer]
) -> Task:
    kind = find(name)
    given = {"self", "backbone", "tokenizer", "target_tokenizer"}
    checked = arguments(kind.__init__, options, "options", given)
    if tokenizers[1:]:
        checked["target_tokenizer"] = tokenizers[1]
    return kind(backbone, tokenizers[0], **checked)


def _shared(options: dict[str, Any], backbone: Backbone, tokenizers: Sequence[Tokenizer]) -> Shared:
    heads = {}
    for name, part in options["heads"].items():
        written = "target_tokenizer" in inspect.signature(find(part["task"]).__init__).parameters
        own = tokenizers if written else tokenizers[:1]
        heads[name] = _head(part["task"], part["options"], backbone, own)
    return Shared(backbone, heads)


def read_config(name: str | Path) -> dict[str, Any]:
    """What config.json of a folder or of a shipped model says, unverified. Raises InputError."""
    path = locate(name) / "config.json"
    config = _json(path)
    if not isinstance(config.get("task"), str):
        raise InputError(f"{path}: names no task")
    return config


def read_expected(name: str | Path) -> list[dict[str, Any]]:
    """The inputs and answers of a model's expected.json, none where it has none."""
    path = locate(name) / EXPECTED
    return json.loads(path.read_text("utf-8")) if path.is_file() else []


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
    return sorted(
        p.parent.relative_to(SHIPPED).as_posix() for p in SHIPPED.glob("*/*/manifest.json")
    )


def locate(name: str | Path) -> Path:
    """The folder of a model, by its path or the name it is shipped under. Raises InputError."""
    for folder in (Path(name), SHIPPED / name):
        if (folder / "manifest.json").is_file():
            return folder
    if Path(name).is_dir():
        unfinished = (Path(name) / "checkpoint" / "checkpoint.pt").is_file()
        cure = f"the training did not end; go on with resume={name}" if unfinished else "no model"
        raise InputError(f"{name}: no manifest.json: {cure}")
    there = ", ".join(shipped()) or "none"
    raise InputError(f"{name}: neither a model folder nor a shipped model; shipped: {there}")


def manifest_of(folder: Path) -> dict[str, str]:
    """The files of a model folder, each with its sha256. Raises InputError for names that lead
    anywhere else, and when a model's own files are not among them."""
    path = folder / "manifest.json"
    files = _json(path).get("files")
    if not isinstance(files, dict) or not {"config.json", "model.safetensors"} <= set(files):
        raise InputError(f"{path}: does not list the files of a model")
    for name in files:
        if Path(name).name != name or name in ("..", path.name) or "\\" in name:
            raise InputError(f"{folder / name}: missing: {path.name} lists no file of this folder")
    return files


def verified(folder: Path) -> tuple[dict[str, Any], set[str]]:
    """config.json and the names of all files, after each had the hash that it should have."""
    files = manifest_of(folder)
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing")
        if sha256(path) != digest:
            raise InputError(f"{path}: its contents are not those that were saved (sha256 differs)")
    config = _json(folder / "config.json")
    config.setdefault("search", {})  # older folders hold none
    if wrong := set(config) ^ KEYS:
        raise InputError(f"{folder / 'config.json'}: unknown or missing key {sorted(wrong)[0]!r}")
    if config["format"] != FORMAT:
        raise InputError(f"{folder / 'config.json'}: format {config['format']}, not {FORMAT}")
    if not isinstance(config["facts"], dict):
        raise InputError(f"{folder / 'config.json'}: facts are no object")
    if config["tokenizer"] not in TOKENIZERS:
        raise InputError(f"{folder / 'config.json'}: tokenizer {config['tokenizer']!r} is unknown")
    if TOKENIZERS[config["tokenizer"]].file not in files:
        raise InputError(f"{folder / 'manifest.json'}: does not list the tokenizer")
    return config, set(files)


def _fill(task: nn.Module, path: Path) -> None:
    """Put the weights of a file into a task: each one there, each of the right shape and type."""
    try:
        weights = unpack(load_file(path), task.state_dict())
        task.load_state_dict(weights, strict=True)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: not an object")
    return value


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
