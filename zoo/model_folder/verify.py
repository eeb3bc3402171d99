"""Verify a model folder before use: its files are complete, unchanged and known."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from zoo.data.processors import PROCESSORS
from zoo.errors import InputError
from zoo.files import read_json
from zoo.files.run_folder import FOLDS, MANIFEST, TUNING
from zoo.generation.config import GenerationConfig
from zoo.messages import _
from zoo.model_folder import format_1
from zoo.option_classes import did_you_mean

FORMAT = 2
SHIPPED = Path(__file__).resolve().parents[1] / "pretrained"
EXPECTED = "expected.json"
KEYS = {"format", "task", "config", "backbone", "processors", "metadata"}
FILES = {"config.json", "model.safetensors", "README.md", EXPECTED}
# The name of a processor: "tokenizer", or "topic.labels" of a head of a multitask model.
TASK_NAME = "[a-z][a-z0-9_]*"
NAME = r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?"
SUFFIXES = "|".join(sorted({re.escape(kind.suffix) for kind in PROCESSORS.values()}))
# Names of files that a run writes beside its model, and suffixes of weights that could run code.
BESIDE = {"report.json", "settings.json", "processors.json", "explain.json", "answers.json"}
BESIDE |= {TUNING, FOLDS}
PICKLED = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".safetensors"}
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # OWNER/NAME on the hub
LARGEST = 1 << 25  # bytes of config.json and manifest.json
PROCESSOR_FILE = re.compile(rf"{NAME}(?:{SUFFIXES})")


def shipped() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(
        p.parent.relative_to(SHIPPED).as_posix() for p in SHIPPED.glob("*/*/manifest.json")
    )


def pulled(name: str) -> Path:
    """Return where `python -m zoo.hub pull OWNER/NAME` puts a model: in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sequence-zoo" / "models" / name


def locate(name: str | Path) -> Path:
    """Return a model's folder, given its path, its shipped name or the OWNER/NAME of a pulled one.

    Nothing is fetched. Raises InputError if there is none, or if its training is not finished.
    """
    on_hub = REPOSITORY.fullmatch(str(name)) is not None
    for folder in (Path(name), SHIPPED / name, *([pulled(str(name))] if on_hub else [])):
        if (folder / MANIFEST).is_file():
            return folder
    if Path(name).is_dir():
        unfinished = (Path(name) / "checkpoint" / "checkpoint.pt").is_file()
        cure = _("no model")
        if unfinished:
            cure = _("the training did not end; go on with resume={name}", name=name)
        raise InputError(_("{name}: no manifest.json: {cure}", name=name, cure=cure))
    near = did_you_mean(str(name), shipped())
    hub = ""
    if on_hub and not near:
        hub = _("; if it is on the hub: python -m zoo.hub pull {name}", name=name)
    raise InputError(
        _(
            "{name}: neither a model folder nor a shipped model; shipped: {there}{near}{hub}",
            name=name,
            there=", ".join(shipped()) or _("none"),
            near=near,
            hub=hub,
        )
    )


def manifest_of(folder: Path) -> dict[str, str]:
    """Return the files of a model folder, each with its sha256.

    Raises InputError for a name that no model file has, and if a required file is not listed.
    """
    path = folder / MANIFEST
    _check_link(folder, path)
    files = read_object(path).get("files")
    if not isinstance(files, dict) or not {"config.json", "model.safetensors"} <= set(files):
        raise InputError(f"{path}: does not list the files of a model")
    _check_names(folder, [name for name in files if not _may_be_listed(name)])
    return files


def _may_be_listed(name: str) -> bool:
    """Whether a file in a manifest may be one of a model; its config tells whether it is one."""
    return name in FILES or (name != MANIFEST and PROCESSOR_FILE.fullmatch(name) is not None)


def _check_link(folder: Path, path: Path) -> None:
    """Raise InputError for a link to a file of another folder."""
    if path.is_symlink() and path.resolve().parent != folder.resolve():
        raise InputError(f"{path}: a link out of the folder: put the file itself in its place")


def _check_unlisted(folder: Path, listed: Collection[str]) -> None:
    """Raise InputError for a file that could be one of a model, and that the manifest does not list.

    What a run, a user or a system puts beside a model is none of it: reports, pictures, tables.
    """
    for path in sorted(folder.iterdir()):
        name = path.name
        of_model = (_may_be_listed(name) or path.suffix.lower() in PICKLED) and name not in BESIDE
        if of_model and name not in listed and not path.is_dir():
            raise InputError(
                f"{path}: {MANIFEST} does not list it: take it out of the folder of the model"
            )


def _check_names(folder: Path, wrong: Collection[str]) -> None:
    if wrong:
        name = min(wrong)
        raise InputError(f"{folder / name}: {MANIFEST} lists it: no file of a model")


def verified(folder: Path) -> tuple[dict[str, Any], set[str]]:
    """Check the hash of each file. Return config.json and the names of all files.

    The config is of format 1 or 2, its keys are checked. Raises InputError that names the faulty
    file or key.
    """
    files = manifest_of(folder)
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(_("{path}: missing", path=path))
        _check_link(folder, path)
        if sha256(path) != digest:
            raise InputError(
                _(
                    "{path}: its contents are not those that were saved (sha256 differs)",
                    path=path,
                )
            )
    path = folder / "config.json"
    config = read_object(path)
    version = config.get("format", FORMAT)
    if isinstance(version, bool) or version not in (format_1.FORMAT, FORMAT):
        raise InputError(
            _(
                "{path}: format {version}, not {first} or {second}",
                path=path,
                version=version,
                first=format_1.FORMAT,
                second=FORMAT,
            )
        )
    if version == format_1.FORMAT:
        config = format_1.with_defaults(config)
        format_1.check(path, config, files)
        own = {*map(str, format_1.FILES)}
    else:
        check_keys(path, config, KEYS)
        own = {*processor_files(path, config["processors"]).values()}
    if not isinstance(config["metadata"], dict):
        raise InputError(f"{path}: metadata is no object")
    if missing := own - set(files) if version == FORMAT else set():
        raise InputError(f"{folder / MANIFEST}: does not list the processor {min(missing)}")
    _check_names(folder, set(files) - FILES - own)
    _check_unlisted(folder, files)
    return config, set(files)


def check_keys(path: Path, values: Mapping[str, Any], keys: Collection[str]) -> None:
    """Raise InputError unless an object of config.json has exactly these keys."""
    if wrong := set(values) ^ set(keys):
        raise InputError(f"{path}: unknown or missing key {min(wrong)!r}")


def processor_files(path: Path, kinds: Any) -> dict[str, str]:
    """Return the file of each processor, given the kinds: {name: kind}.

    Raises InputError that begins with `path` for an unknown kind and an impossible name.
    """
    if not isinstance(kinds, Mapping):
        raise InputError(f"{path}: processors is no object of names and kinds")
    files = {}
    for name, kind in kinds.items():
        if not isinstance(kind, str) or kind not in PROCESSORS:
            known = ", ".join(PROCESSORS)
            raise InputError(f"{path}: processors.{name}: {kind!r} is unknown; there are: {known}")
        file = f"{name}{PROCESSORS[kind].suffix}"
        if re.fullmatch(NAME, name) is None or file in FILES | {MANIFEST}:
            raise InputError(f"{path}: processors.{name}: no processor can have this name")
        files[name] = file
    return files


def read_config(name: str | Path) -> dict[str, Any]:
    """Return config.json of a folder or a shipped model, without hash checks. Raises InputError.

    Of format 1 it has that format's keys, under their present names.
    """
    path = locate(name) / "config.json"
    config = format_1.current(read_object(path))
    task = config.get("task")
    if not isinstance(task, str) or re.fullmatch(TASK_NAME, task) is None:
        raise InputError(f"{path}: task {task!r:.100} is no name: a-z, 0-9 and _")
    return config


def read_generation(name: str | Path) -> GenerationConfig | None:
    """Return the generation config of a model, or None for an earlier folder without one.

    Raises InputError for values that are not valid.
    """
    config = read_config(name)
    if config.get("format") == format_1.FORMAT:
        if "generation" not in config:
            return None
        values = config["generation"]
    else:
        own = config.get("config")
        values = own.get("generation", {}) if isinstance(own, dict) else {}
    try:
        return GenerationConfig(**values)
    except (ValueError, TypeError) as error:
        path = locate(name) / "config.json"
        raise InputError(f"{path}: generation: {line_of(error)}") from None


def read_expected(name: str | Path) -> list[dict[str, Any]]:
    """Return the inputs and answers of a model's expected.json; empty without that file.

    Raises InputError if the file holds anything else.
    """
    path = locate(name) / EXPECTED
    try:
        cases = read_json(path) if path.is_file() else []
        return [{key: str(case[key]) for key in ("input", "answer")} for case in cases]
    except InputError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: no list of inputs and answers: {line_of(error)}") from None


def line_of(error: BaseException) -> str:
    """Return an error message on one line."""
    return " ".join(str(error).split())


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises InputError for anything else."""
    if path.is_file() and path.stat().st_size > LARGEST:
        raise InputError(f"{path}: {path.stat().st_size:,} bytes are more than {LARGEST:,}")
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: not an object")
    return value


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
