"""Verify a model folder before use: its files are complete, unchanged and known."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from zoo.config import arguments
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.text.tokenizers import TOKENIZERS

FORMAT = 1
SHIPPED = Path(__file__).resolve().parents[1] / "pretrained"
EXPECTED = "expected.json"
TARGET = "target."  # prefix of the target tokenizer's file
OWN = {"task", "options", "generation", "end_ids"}  # the keys of a config that belong to the task
KEYS = {"format", *OWN, "backbone", "tokenizer", "metadata"}
EARLIER_KEYS = {"search": "generation", "closing": "end_ids", "facts": "metadata"}
EARLIER_GENERATION_KEYS = {"beam": "beam_size"}
EARLIER_TASKS = {"shared": "multitask"}
FILES = {"config.json", "model.safetensors", "README.md", EXPECTED} | {
    f"{prefix}{kind.file}" for prefix in ("", TARGET) for kind in TOKENIZERS.values()
}


def shipped() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(
        p.parent.relative_to(SHIPPED).as_posix() for p in SHIPPED.glob("*/*/manifest.json")
    )


def locate(name: str | Path) -> Path:
    """Return a model's folder, given its path or its shipped name.

    Raises InputError if there is none, or if its training is not finished.
    """
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
    """Return the files of a model folder, each with its sha256.

    Raises InputError for a name that no model file has, and if a required file is not listed.
    """
    path = folder / "manifest.json"
    files = read_json(path).get("files")
    if not isinstance(files, dict) or not {"config.json", "model.safetensors"} <= set(files):
        raise InputError(f"{path}: does not list the files of a model")
    if others := sorted(set(files) - FILES):
        raise InputError(f"{folder / others[0]}: {path.name} lists it: no file of a model")
    return files


def verified(folder: Path) -> tuple[dict[str, Any], set[str]]:
    """Check the hash of each file. Return config.json and the names of all files.

    Raises InputError that names the faulty file or key.
    """
    files = manifest_of(folder)
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing")
        if sha256(path) != digest:
            raise InputError(f"{path}: its contents are not those that were saved (sha256 differs)")
    config = {"generation": {}, "end_ids": [], **current(read_json(folder / "config.json"))}
    if wrong := set(config) ^ KEYS:
        raise InputError(f"{folder / 'config.json'}: unknown or missing key {sorted(wrong)[0]!r}")
    if config["format"] != FORMAT:
        raise InputError(f"{folder / 'config.json'}: format {config['format']}, not {FORMAT}")
    if not isinstance(config["metadata"], dict):
        raise InputError(f"{folder / 'config.json'}: metadata is no object")
    if not isinstance(config["tokenizer"], str) or config["tokenizer"] not in TOKENIZERS:
        raise InputError(f"{folder / 'config.json'}: tokenizer {config['tokenizer']!r} is unknown")
    if TOKENIZERS[config["tokenizer"]].file not in files:
        raise InputError(f"{folder / 'manifest.json'}: does not list the tokenizer")
    return config, set(files)


def read_config(name: str | Path) -> dict[str, Any]:
    """Return config.json of a folder or a shipped model, without hash checks. Raises InputError."""
    path = locate(name) / "config.json"
    config = current(read_json(path))
    if not isinstance(config.get("task"), str):
        raise InputError(f"{path}: names no task")
    return config


def current(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with earlier key and task names replaced by the present ones."""
    found = {EARLIER_KEYS.get(name, name): value for name, value in config.items()}
    generation = found.get("generation")
    if isinstance(generation, dict):
        found["generation"] = {EARLIER_GENERATION_KEYS.get(k, k): v for k, v in generation.items()}
    if isinstance(found.get("task"), str):
        found["task"] = EARLIER_TASKS.get(found["task"], found["task"])
    options = found.get("options")
    heads = options.get("heads") if isinstance(options, dict) else None
    if isinstance(options, dict) and isinstance(heads, dict):
        current_heads = {
            name: current(head) if isinstance(head, dict) else head for name, head in heads.items()
        }
        found["options"] = options | {"heads": current_heads}
    return found


def read_generation(name: str | Path) -> GenerationConfig | None:
    """Return the generation config of a model, or None for an earlier folder without one.

    Raises InputError for values that are not valid.
    """
    config = read_config(name)
    if "generation" not in config:
        return None
    try:
        return GenerationConfig(**arguments(GenerationConfig, config["generation"], "generation"))
    except (ValueError, TypeError) as error:
        raise InputError(f"{locate(name) / 'config.json'}: generation: {error}") from None


def read_expected(name: str | Path) -> list[dict[str, Any]]:
    """Return the inputs and answers of a model's expected.json; empty without that file.

    Raises InputError if the file holds anything else.
    """
    path = locate(name) / EXPECTED
    try:
        cases = json.loads(path.read_text("utf-8")) if path.is_file() else []
        return [{key: str(case[key]) for key in ("input", "answer")} for case in cases]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path}: no list of inputs and answers: {line_of(error)}") from None


def line_of(error: BaseException) -> str:
    """Return an error message on one line."""
    return " ".join(str(error).split())


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises InputError for anything else."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: not an object")
    return value


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
