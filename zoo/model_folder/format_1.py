"""Read the first format of model folders as the plain data of the present one.

    config.json    format, task, options, generation, end_ids, backbone, tokenizer, metadata
    vocabulary.json or sentencepiece.model, and target.… for a tokenizer of the target side

The options hold what the task learned: labels, label_counts, exceptions, alphabet and seen. Here
they become processors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zoo.data.processors import LabelEncoder, Processor, WordCounts
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.text.characters import Alphabet
from zoo.text.tokenizers import TOKENIZERS, Tokenizer

FORMAT = 1
TARGET = "target."  # prefix of the target tokenizer's file
OWN = {"task", "options", "generation", "end_ids"}  # the keys of a config that belong to the task
KEYS = {"format", *OWN, "backbone", "tokenizer", "metadata"}
EARLIER_KEYS = {"search": "generation", "closing": "end_ids", "facts": "metadata"}
EARLIER_GENERATION_KEYS = {"beam": "beam_size"}
EARLIER_TASKS = {"shared": "multitask"}
SUFFIX_FILES = {".json": "vocabulary.json", ".model": "sentencepiece.model"}
FILES = {f"{prefix}{file}" for prefix in ("", TARGET) for file in SUFFIX_FILES.values()}
LEARNED = {  # task -> the options that are processors now: True if there must be such an option
    "classify": {"labels": True, "label_counts": False},
    "tag": {"labels": True, "alphabet": True, "seen": True, "exceptions": True},
}
GENERATIVE = ("translate", "generate")
ENDS_WITH_EOS = {"classify", "tag"}  # tasks whose heads had an EOS behind their inputs
UNKNOWN_COUNT = 2  # of a training word, whose count the format does not hold


class Parts(NamedTuple):
    """A model of format 1 as the plain data of the present format."""

    config: dict[str, Any]
    processors: dict[str, Processor]


def current(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config of format 1 with earlier key and task names replaced by the present ones.

    A config of another format is returned as it is.
    """
    if config.get("format", FORMAT) != FORMAT:
        return config
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


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config under its present names, with the keys that early folders lack."""
    return {"generation": {}, "end_ids": [], **current(config)}


def check(path: Path, config: Mapping[str, Any], files: Collection[str]) -> None:
    """Raise InputError for an unknown or missing key, or an unknown tokenizer."""
    if wrong := set(config) ^ KEYS:
        raise InputError(f"{path}: unknown or missing key {min(wrong)!r}")
    kind = config["tokenizer"]
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise InputError(f"{path}: tokenizer {kind!r} is unknown")
    if _tokenizer_file(kind) not in files:
        raise InputError(f"{path.parent / 'manifest.json'}: does not list the tokenizer")


def _tokenizer_file(kind: str) -> str:
    return SUFFIX_FILES[TOKENIZERS[kind].suffix]


def read(folder: Path, config: dict[str, Any], files: Collection[str]) -> Parts:
    """Return the task's config and the processors of a verified folder. Raises InputError."""
    path = folder / "config.json"
    tokenizers = _load_tokenizers(folder, config["tokenizer"], files)
    if not isinstance(config["task"], str):
        raise InputError(f"{path}: task {config['task']!r} is no name")
    try:
        if config["task"] == "multitask":
            return _read_heads(config, tokenizers)
        own, learned = _read_task(config, "options", len(tokenizers["tokenizer"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: {line}") from None
    return Parts(own, {**tokenizers, **learned})


def _load_tokenizers(folder: Path, kind: str, files: Collection[str]) -> dict[str, Tokenizer]:
    file = _tokenizer_file(kind)
    tokenizers = {"tokenizer": TOKENIZERS[kind].load(folder / file)}
    if any(name.startswith(TARGET) for name in files):
        tokenizers["target_tokenizer"] = TOKENIZERS[kind].load(folder / f"{TARGET}{file}")
    return tokenizers


def _read_heads(config: Mapping[str, Any], tokenizers: Mapping[str, Tokenizer]) -> Parts:
    """Return the config and the processors of a multitask model."""
    options = _object(config["options"], "options")
    if {*options} != {"heads"}:
        raise ValueError(f"options: {min({*options} ^ {'heads'})!r}, where only heads may be")
    _check_generation(config["generation"])
    heads = {}
    processors: dict[str, Processor] = {"tokenizer": tokenizers["tokenizer"]}
    for name, head in _object(options["heads"], "options.heads").items():
        place = f"options.heads.{name}"
        if wrong := {*_object(head, place)} ^ (OWN | {"writes"}):
            raise ValueError(f"{place}: {min(wrong)!r}")
        own, learned = _read_task(head, place, len(tokenizers["tokenizer"]))
        heads[name] = {"task": head["task"], "config": own}
        processors |= {f"{name}.{part}": processor for part, processor in learned.items()}
        if head["writes"] and "target_tokenizer" in tokenizers:
            processors[f"{name}.target_tokenizer"] = tokenizers["target_tokenizer"]
    return Parts({"heads": heads}, processors)


def _read_task(
    config: Mapping[str, Any], place: str, vocabulary: int
) -> tuple[dict[str, Any], dict[str, Processor]]:
    """Return the options of one task, and what it learned as processors."""
    task = config["task"]
    options = dict(_object(config["options"], place))
    _check_end_ids(config["end_ids"], vocabulary)
    learned = LEARNED.get(task, {})
    for name, is_needed in learned.items():
        if is_needed and name not in options:
            raise ValueError(f"{place}.{name} is missing")
    if "generation" in options:
        raise ValueError(f"{place}.generation: no such setting")
    parts = {name: options.pop(name) for name in learned if name in options}
    _check_generation(config["generation"])
    if config["end_ids"] and task in ENDS_WITH_EOS:
        options["append_eos"] = True
    if task in GENERATIVE and config["generation"]:
        options["generation"] = config["generation"]
    return options, _processors(parts, place)


def _processors(parts: Mapping[str, Any], place: str) -> dict[str, Processor]:
    """Return the processors that learned options become."""
    processors: dict[str, Processor] = {}
    for name in ("alphabet", "seen"):
        if name in parts and not isinstance(parts[name], str):
            raise ValueError(f"{place}.{name}: Input should be a valid string")
    try:
        if "labels" in parts:
            processors["labels"] = LabelEncoder(
                parts["labels"], parts.get("label_counts"), parts.get("exceptions", ())
            )
        if "alphabet" in parts:
            processors["characters"] = Alphabet(parts["alphabet"])
        if "seen" in parts:
            words = parts["seen"].split("\n")
            processors["seen"] = WordCounts(dict.fromkeys(words, UNKNOWN_COUNT))
    except ValueError as error:
        raise ValueError(f"{place}.{error}") from None
    return processors


def _check_generation(values: Any) -> None:
    try:
        GenerationConfig(**_object(values, "generation"))
    except TypeError as error:  # a key that is no name of a setting
        raise ValueError(f"generation: {error}") from None


def _check_end_ids(values: Any, vocabulary: int) -> None:
    if not isinstance(values, list) or not {*map(int, values)} <= {*range(vocabulary)}:
        raise ValueError(f"end_ids={values}: not ids of the tokenizer")


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: not an object")
    return value
