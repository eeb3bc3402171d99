"""Settings: composed by Hydra from `configs/` and the command line, then checked by pydantic.

All settings are checked for type and range before anything runs. The settings of a function or a
class (a corpus, a task, the backbone) are checked against its signature. A misspelt name is an
error everywhere.
"""

from __future__ import annotations

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from zoo.errors import InputError

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]

# Settings whose value is plain text or a path: Hydra's syntax does not apply.
FREE = {"text", "input", "output", "out", "model", "init", "resume"}

# Backbone settings that fix the shapes of its weights: `init` brings them.
SHAPE = (
    "embedding_size",
    "hidden_size",
    "num_layers",
    "bidirectional",
    "layer_norm",
    "learned_state",
)

# Earlier names of settings -> present names, for error messages.
EARLIER_NAMES = {
    "search": "generation",
    "search.beam": "generation.beam_size",
    "generation.beam": "generation.beam_size",
    "train.average": "train.ema_decay",
    "train.clip": "train.grad_clip",
    "train.share": "train.fraction",
    "train.vectors": "train.init_embeddings",
}

FORBID = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)


class TokenizerSettings(BaseModel):
    """How text becomes ids."""

    model_config = FORBID
    kind: Literal["words", "whitespace", "lowercase", "subwords", "characters"]
    size: Annotated[int, Field(ge=8, le=1_000_000)]  # ids, the four specials included
    min_count: Count  # words and characters seen less often become UNK
    coverage: Annotated[
        float, Field(gt=0.5, le=1)
    ]  # from here to blanks: zoo.text.sentencepiece.SentencePieceOptions
    nfkc: bool
    split_digits: bool
    blanks: bool
    shared: bool  # one for all texts of a row, or one for each


class TrainSettings(BaseModel):
    """How a model is trained."""

    model_config = FORBID
    fraction: Annotated[float, Field(gt=0, le=1)]  # of the training rows that are used
    freeze: Literal["none", "backbone", "gradual"]  # the part of the backbone that is not trained
    backbone_rate: Positive  # factor on the learning rate of the backbone's weights
    init_embeddings: bool  # start the embedding from vectors learned from the training rows
    epochs: Count
    batch_tokens: Count  # at most so many steps in a batch, padding included
    batch_rows: Count  # and at most so many rows
    learning_rate: Positive  # the highest one
    schedule: Literal["cosine", "onecycle", "constant"]
    warmup: Annotated[float, Field(ge=0, le=1)]  # share of the training before it is reached
    weight_decay: Annotated[float, Field(ge=0)]
    grad_clip: Positive  # largest norm of the gradient
    ema_decay: Share  # decay of the moving average of the weights; 0: no average
    patience: Annotated[int, Field(ge=0)]  # epochs without a better one before it stops; 0: never
    checkpoint_steps: Annotated[int, Field(ge=0)]  # also save every so many steps; 0: epochs only


class Settings(BaseModel):
    """All settings of `python -m zoo.run`. The dict sections are checked where they are used."""

    model_config = FORBID
    mode: Literal["train", "evaluate", "predict", "chat", "explain"]
    task: dict[str, Any]  # name, and the options of that class
    data: dict[str, Any]  # name, and the arguments of that corpus
    backbone: dict[str, Any]  # the arguments of Backbone
    tokenizer: TokenizerSettings
    train: TrainSettings
    generation: dict[str, Any]  # the arguments of zoo.generation.config.GenerationConfig
    evaluate: dict[str, Any]  # the arguments of zoo.evaluation.perplexity.PerplexityConfig
    out: str | None
    model: str | None
    init: str | None
    directions: Literal["kept", "forward", "both"]
    resume: str | None
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda)$")]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    deterministic: bool  # allow only algorithms that repeat bit by bit
    threads: Annotated[int, Field(ge=0)]  # of the processor; 0: as torch chooses
    baseline: bool
    strict: bool  # a row that would be skipped is an error
    tokens: Literal["words", "whitespace"]
    text: str | None
    input: str
    output: str
    format: Literal["label", "json", "conll", "colour"]


def find_configs() -> Path:
    """The folder `configs`: in the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "config.yaml").is_file():
            return folder
    raise InputError(f"no folder configs in {package} or beside it: reinstall sequence-zoo")


def compose(overrides: list[str]) -> dict[str, Any]:
    """Compose the settings of a command line, `["task=classify", "train.epochs=3"]`, as plain values.

    Raises InputError for settings that are missing or unknown.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(find_configs()), version_base="1.3"):
            composed = hydra_compose("config", [_quoted(text) for text in overrides])
        for key in sorted(OmegaConf.missing_keys(composed)):
            raise InputError(f"{key} is missing: add {key}=…")
        return typing.cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file).partition("/")
        known = ", ".join(error.options or ())
        raise InputError(f"{group}={choice}: no such {group}; there are: {known}") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_explained(error)) from None


def _quoted(override: str) -> str:
    """Quote texts and paths, so that Hydra does not parse them: "so-so, at best" is no list."""
    key, equals, value = override.partition("=")
    plain = re.fullmatch(r"(?i:null|true|false)|\[.*\]|{.*}|'.*'|\".*\"", value, re.DOTALL)
    if not equals or not (key in FREE or (key.startswith("data.") and not plain)):
        return override
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", escaped)  # no interpolation
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"{key}='{escaped}{chr(92) * trailing}'"


def check(settings: dict[str, Any]) -> Settings:
    """Check types and ranges of all settings. Raises InputError that names the first wrong one."""
    return _validated(Settings, settings, "")


def check_together(settings: Settings, arguments: list[str]) -> None:
    """Check settings that are valid alone, but not together. Raises InputError."""
    if settings.resume is not None and len(arguments) > 1:
        raise InputError(
            "resume=DIR goes on with the settings that the run began with: leave "
            f"{next(a for a in arguments if not a.startswith('resume='))} out"
        )
    if settings.mode in ("evaluate", "predict", "chat") and settings.model is None:
        raise InputError(f"mode={settings.mode} needs model=DIR, a folder that a training wrote")
    brought = ("backbone=", *(f"backbone.{name}=" for name in SHAPE), "tokenizer")
    if settings.init is not None and any(a.startswith(brought) for a in arguments):
        raise InputError("init=… brings its backbone and tokenizer: leave their settings out")
    if settings.init is None and settings.directions != "kept":
        raise InputError(
            "directions=… is about the backbone of init=…; without it there is "
            "backbone.bidirectional"
        )
    if settings.text is not None and settings.mode not in ("predict", "explain"):
        raise InputError(f"text=… is for mode=predict and mode=explain, not mode={settings.mode}")


def arguments(
    function: Callable[..., Any], values: dict[str, Any], where: str, given: Collection[str] = ()
) -> dict[str, Any]:
    """Check `values` against the annotations of `function`; returns its keyword arguments.

    `given` are parameters that the caller passes itself. `where` is the section in the message
    of the InputError: `task.dropout=2: Input should be less than 1`.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in given and parameter.kind is not parameter.VAR_KEYWORD:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (hints.get(name, Any), default)
    model = create_model("Arguments", __config__=FORBID, **fields)
    checked = _validated(model, values, f"{where}.")
    return {name: getattr(checked, name) for name in fields}


Model = TypeVar("Model", bound=BaseModel)


def _validated(model: type[Model], values: dict[str, Any], where: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = where + ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise InputError(f"{place} is missing: add {place}=…") from None
        if first["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields)
            raise InputError(f"{place}: no such setting; there are: {known}") from None
        raise InputError(f"{place}={first['input']}: {first['msg']}") from None


def _explained(error: Exception) -> str:
    """Hydra's message in one line; for a misspelt setting, the most similar one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wrong = re.match(r"Could not override '([^']*)'|Key '([^']*)' is not in struct", lines[0])
    if wrong is None:
        return " ".join(lines)
    name = wrong[1] or wrong[2]
    near = [_renamed(name)] if _renamed(name) else difflib.get_close_matches(name, _names(), 1)
    return f"{name}: no such setting" + (f"; did you mean {near[0]}?" if near else "; see --help")


def _renamed(name: str) -> str | None:
    """The present name of a setting, given its earlier name; None for other names."""
    if name in EARLIER_NAMES:
        return EARLIER_NAMES[name]
    section, dot, rest = name.partition(".")
    return f"{EARLIER_NAMES[section]}.{rest}" if dot and section in EARLIER_NAMES else None


def _names() -> list[str]:
    """The names of all settings of a default run, as on the command line."""
    composed = compose([])
    sections = {name: value for name, value in composed.items() if isinstance(value, dict)}
    nested = [f"{section}.{name}" for section, values in sections.items() for name in values]
    return [*composed, *nested]
