"""The data settings of a model: what it was trained on is what it is measured on and asked about."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo.config import corpora, find_configs
from zoo.data.corpora import CORPORA, own_files
from zoo.data.corpora.paths import first_missing, is_file_of_split
from zoo.errors import InputError
from zoo.messages import _
from zoo.model_folder.verify import read_config


def with_data(arguments: list[str]) -> list[str]:
    """Add the data settings of `model=` below those of a command line.

    A corpus that the command line names replaces the model's. `data.test=FILE` alone replaces all
    files of the model; rows to predict need no corpus.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    mode = given.get("mode", "train")
    if "model" not in given or mode not in ("evaluate", "predict", "explain"):
        return arguments
    metadata = read_config(given["model"]).get("metadata")
    if mode == "explain" and "data_settings" not in (metadata or {}):  # a shipped model
        return arguments
    own = data_of(metadata)
    named = {name.partition(".")[2] for name in given if name.startswith("data.")}
    base: dict[str, Any]
    if "data" in given:
        base = {"name": given["data"]}
    elif named - _settings_of(own.get("name")):  # of files, whatever the model was trained on
        base = {"name": own_files(own.get("name"))}
    else:
        base = own
    if not base and mode == "evaluate":
        raise InputError(
            f"model={given['model']}: its folder does not say what it was trained on: add data=…"
        )
    corpus = CORPORA.get(base.get("name", ""))
    if corpus and is_file_of_split(corpus, "test") and "test" in named and "train" not in named:
        there = base.get("train") is not None and Path(str(base["train"])).exists()
        new = ("valid",) if there else ("train", "valid")  # a baseline learns from train
        base = base | {part: given["data.test"] for part in new if part not in named}
    if mode == "predict" and base.get("name") in CORPORA:  # its rows are in `input`
        base = dict.fromkeys(_needed(base["name"])) | base
    if corpus and mode == "evaluate":
        _check_there(given["model"], corpus, {k: v for k, v in base.items() if k not in named})
    rest = [f"data.{name}={_quoted(value)}" for name, value in base.items() if name != "name"]
    name = [f"data={base['name']}"] if "name" in base and "data" not in given else []
    first = [a for a in arguments if a.startswith("data=")]
    others = [a for a in arguments if not a.startswith("data=")]
    return [*name, *first, *rest, *others]


def _check_there(model: str, corpus: Callable[..., Any], own: Mapping[str, Any]) -> None:
    """Raise InputError for a file that a model names as its data, and that is not here."""
    name = first_missing(corpus, own)
    if name is None:
        return
    said = _(
        "model={model}: its data.{name}={path} is not there: go to the folder in which it was "
        "trained, or add data.{given}=…",
        model=model,
        name=name,
        path=own[name],
        given="test" if is_file_of_split(corpus, "test") else name,
    )
    raise InputError(said)


def data_of(metadata: Any) -> dict[str, Any]:
    """Return the data settings in the metadata of a model; of a shipped one only their name."""
    if not isinstance(metadata, Mapping):
        return {}
    kept = metadata.get("data_settings")
    if isinstance(kept, Mapping) and isinstance(kept.get("name"), str) and kept["name"] in CORPORA:
        for name, value in kept.items():
            _check_plain(name, value)
        return dict(kept)
    name = metadata.get("data")
    return {"name": name} if name in corpora() else {}


def _check_plain(name: str, value: Any) -> None:
    """Raise InputError for a setting that Hydra would not read as the plain value that it is."""
    plain = value is None or isinstance(value, (str, int, float, list))
    if not plain or "${" in str(value) or re.fullmatch("[a-z_]+", name) is None:
        raise InputError(f"metadata.data_settings.{name}={value!r:.100}: no setting of a corpus")


def _settings_of(corpus: Any) -> set[str]:
    """Return the names of the settings of a corpus."""
    function = CORPORA.get(corpus)
    return set() if function is None else {*inspect.signature(function).parameters}


def _needed(corpus: str) -> list[str]:
    """Return the settings of a corpus that have no default."""
    from omegaconf import OmegaConf

    values = OmegaConf.load(find_configs() / "data" / f"{corpus}.yaml")
    return sorted(map(str, OmegaConf.missing_keys(values)))


def _quoted(value: Any) -> str:
    """Return a value as Hydra reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
