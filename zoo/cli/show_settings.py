"""`--cfg`, and `--help` of one task: options with their values, and where the values come from."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from zoo.config import SECTIONS, ServeConfig, Settings, TokenizerConfig, TrainConfig, sources
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.model_folder.verify import line_of, read_config
from zoo.nn.backbone import BackboneConfig
from zoo.option_classes import as_text, did_you_mean, option_names, options
from zoo.registry import find, resolve
from zoo.training.defaults import OWN, choices, metric_of, with_choices
from zoo.training.options import options_of
from zoo.training.rows import open_rows

log = logging.getLogger("zoo")

WIDTH = 96  # columns of a line

OWNERS: dict[str, type] = {
    "backbone": BackboneConfig,
    "tokenizer": TokenizerConfig,
    "train": TrainConfig,
    "generation": GenerationConfig,
    "evaluate": EvaluationConfig,
    "serve": ServeConfig,
}  # section -> the class of its options


def of_task(setting: str) -> str:
    """The options of one task, with defaults and descriptions."""
    name = resolve([setting])[0].partition("=")[2]
    kind = find(name)
    docstring = (kind.__doc__ or "").strip().partition("\n")[0]
    reads = getattr(kind, "reads", None)
    lines = [f"task={name}: {docstring}"]
    if isinstance(reads, str):
        lines.append(f"reads {reads}: {kind.why}.")
    lines.append(f"columns: {', '.join(kind.training_columns)}")
    for section, owner in (("task", kind.config_class), ("generation", GenerationConfig)):
        if section == "generation" and "generation" not in option_names(kind.config_class):
            continue
        lines += _option_lines(section, owner)
    return "\n".join(lines)


def of_section(name: str) -> str:
    """The options of a section like `train`, with defaults and descriptions."""
    if name not in OWNERS:
        near = did_you_mean(name, OWNERS)
        there = ", ".join(OWNERS)
        raise InputError(
            f"--help {name}: there are --help task=NAME, --help data=NAME, and --help with one of "
            f"{there}{near}"
        )
    owner = OWNERS[name]
    docstring = (owner.__doc__ or "").strip().partition("\n")[0]
    return "\n".join([f"{name}: {docstring}", *_option_lines(name, owner)])


def _option_lines(section: str, owner: type) -> list[str]:
    """The options of a class: a heading, then each with default, values and description."""
    lines = ["", f"{section} options ({owner.__name__}):", ""]
    for option in options(owner):
        if option.name == "generation":
            continue
        lines.append(f"  {section}.{option.name}={as_text(option.default)}    {option.type}")
        lines += textwrap.wrap(
            option.description, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return lines


def print_settings(given: list[str], settings: Settings) -> None:
    """Print every setting as YAML; a comment behind each says where its value comes from.

    What a training would choose by the rows of a user's own files is shown with its reason.
    """
    settings, shown, reasons = _by_rows(settings)
    for section, rows in _settings_table(given, settings).items():
        if section:
            print(f"{section}:")
        for name, value, source in rows:
            key = f"{section}.{name}"
            line = f"{'  ' if section else ''}{name}: {as_text(shown.get(key, value))}"
            print(f"{line:<44} # {reasons.get(key, source)}")


def _by_rows(settings: Settings) -> tuple[Settings, dict[str, Any], dict[str, str]]:
    """Return the settings with what the training rows choose, what is shown in their place, reasons.

    The metric that chooses the best epoch is shown where it is not given.
    """
    if settings.mode != "train":
        return settings, {}, {}
    options = options_of(settings)
    own = settings.data.get("name") in OWN
    reasons: dict[str, str] = {}
    rows: Iterable[Row] = ()
    try:
        if own:
            splits = open_rows(settings, options.kind)
            found = choices(settings, options, splits)
            settings = with_choices(settings, {choice.name: choice.value for choice in found})
            reasons = {choice.name: f"rows: {choice.why}" for choice in found}
            rows = splits.train
    except (InputError, OSError) as error:
        log.warning("without what the rows would choose: %s", line_of(error))
    if settings.train.metric is not None:
        return settings, {}, reasons
    metric, why = metric_of(settings, options, rows)
    return settings, {"train.metric": metric}, reasons | {"train.metric": why}


def _settings_table(given: list[str], settings: Settings) -> dict[str, list[tuple[str, Any, str]]]:
    """Of each section, "" for the run's own settings: name, value and source of each setting."""
    origin = sources(given)
    kind = find(settings.task["name"])
    owners: dict[str, Any] = {
        "task": kind.config_class(**{k: v for k, v in settings.task.items() if k != "name"}),
        "backbone": BackboneConfig(**settings.backbone),
        "tokenizer": settings.tokenizer,
        "train": settings.train,
        "generation": GenerationConfig(**settings.generation),
        "evaluate": EvaluationConfig(**settings.evaluate),
    }
    if "generation" not in option_names(kind.config_class):
        del owners["generation"]
    brought: dict[str, str] = {}
    if settings.model is not None:
        del owners["tokenizer"]
        brought = _brought_by(settings.model, owners, settings, origin)
    table: dict[str, list[tuple[str, Any, str]]] = {"": []}
    for name in Settings.model_fields:
        if name not in SECTIONS:
            source = origin.get(name, "default of Settings")
            table[""].append((name, getattr(settings, name), source))
    for section in ("task", "data"):
        table[section] = [
            (name, value, origin.get(f"{section}.{name}", "command line"))
            for name, value in getattr(settings, section).items()
            if section == "data" or name == "name"
        ]
    for section, config in owners.items():
        rows = table.setdefault(section, [])
        default = f"default of {type(config).__name__}"
        for field in fields(config):
            if field.name != "generation" or section != "task":
                key = f"{section}.{field.name}"
                source = brought.get(key) or origin.get(key, default)
                rows.append((field.name, getattr(config, field.name), source))
    return table


def _brought_by(
    model: str, owners: dict[str, Any], settings: Settings, origin: dict[str, str]
) -> dict[str, str]:
    """Put a model's own options into `owners`; return the source of each, by its full name."""
    saved = read_config(model)
    owners["backbone"] = BackboneConfig(**saved["backbone"])
    own = dict(saved.get("config", saved.get("options", {})))
    own.pop("generation", None)
    if "config" in saved:
        owners["task"] = type(owners["task"])(**own)
    names = [f"task.{name}" for name in own]
    names += [f"backbone.{name}" for name in saved["backbone"]]
    names += [
        f"generation.{name}"
        for name in settings.generation
        if origin.get(f"generation.{name}") != "command line"
    ]
    return dict.fromkeys(names, f"model {model}")
