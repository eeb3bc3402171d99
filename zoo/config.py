"""Settings: composed by Hydra from `configs/` and the command line, then checked by pydantic.

Each default stands once, in the option class that it belongs to. The files in `configs/` hold what
differs from it: recipes, and the settings of the corpora. A misspelt name or a wrong value is an
error of one line, before anything runs.
"""

from __future__ import annotations

import re
import threading
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from zoo.errors import InputError
from zoo.messages import _
from zoo.option_classes import (
    FORBID,
    Count,
    NotNegative,
    Positive,
    Share,
    Steps,
    checked_dataclass,
    did_you_mean,
    flat,
    option_names,
    unknown,
    validated,
)

# Settings whose value is plain text or a path: Hydra's syntax does not apply.
FREE = {"text", "input", "output", "out", "model", "init", "resume"}

_composing = threading.RLock()  # Hydra's objects are global

# A path: an empty one would be the working folder.
Name = Annotated[str, Field(min_length=1)]

# Backbone settings that fix the shapes of its weights: `init` brings them.
SHAPE = (
    "cell",
    "embedding_size",
    "hidden_size",
    "num_layers",
    "bidirectional",
    "layer_norm",
    "learned_state",
)
OF_SINGLE_LABELS = {"task.label_smoothing", "task.r_drop"}  # settings that bar task.crf


@checked_dataclass
class TokenizerConfig:
    """How text becomes ids."""

    section: ClassVar[str] = "tokenizer"

    kind: Literal["words", "whitespace", "lowercase", "subwords", "characters"] = "words"
    """What a token is."""
    size: Annotated[int, Field(ge=8, le=1_000_000)] = 30_000
    """Size of the vocabulary, four special tokens included."""
    min_count: Count = 2
    """Words and characters that are seen less often become `<unk>`."""
    coverage: Annotated[float, Field(gt=0.5, le=1)] = 0.9998
    """Subwords: share of the characters of the texts that get a token; 1: all."""
    nfkc: bool = True
    """Subwords: apply NFKC normalisation, so ｆｕｌｌ is read as full."""
    uncased: bool = False
    """Subwords: read lower case, NFKC and plain quotation marks; with shared=false only the source."""
    split_digits: bool = False
    """Subwords: each digit is a token."""
    blanks: bool = False
    """Subwords: keep blanks as they are, indentation included."""
    shared: bool = True
    """One tokenizer for both sides of a translation; false: one for each."""


@checked_dataclass
class TrainConfig:
    """How a model is trained."""

    section: ClassVar[str] = "train"

    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the training rows that are used, drawn with the seed."""
    freeze: Literal["none", "backbone", "gradual"] = "none"
    """backbone: train the head only; gradual: one more layer with each epoch."""
    backbone_rate: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Factor on the learning rate of the backbone's weights."""
    init_embeddings: bool = True
    """Start the embedding from word vectors learned from the training rows."""
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 8
    """Most epochs."""
    batch_tokens: Steps = 24_576
    """Most tokens in a batch, padding included."""
    batch_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """Most rows in a batch."""
    learning_rate: Annotated[float, Field(gt=0, le=1000)] = 3.0e-3
    """Highest learning rate."""
    schedule: Literal["cosine", "onecycle", "constant"] = "cosine"
    """How the learning rate changes."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the training in which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0, le=1000)] = 0.01
    """Weight decay of AdamW."""
    grad_clip: Positive = 1.0
    """Largest norm of the gradient."""
    ema_decay: Share = 0.998
    """Decay of the moving average of the weights; 0: no average."""
    patience: Annotated[int, Field(ge=0, le=1_000_000)] = 3
    """Epochs without improvement after which training stops; 0: never."""
    checkpoint_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Also write a checkpoint every so many batches; 0: after epochs only."""
    tensorboard: bool = False
    """Also write each epoch's figures for TensorBoard, into `out`/tensorboard."""
    tolerance: NotNegative = 0.0
    """Epochs whose metrics differ by no more are equal: the lower loss chooses the best."""
    metric: str | None = None
    """Validation metric that chooses the best epoch; null: the task's own."""


@checked_dataclass
class ServeConfig:
    """How models are served, and what a request may ask of them."""

    section: ClassVar[str] = "serve"

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address that is listened to; 0.0.0.0: every one of this machine, for other machines too."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """Port that is listened to; 0: a free one."""
    hosts: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Further names by which browsers may call this machine; with host=0.0.0.0, none: any name."""
    batch_wait: Annotated[float, Field(ge=0, le=10)] = 0.005
    """Seconds that a request waits for others, which are answered in the same batch."""
    batch_inputs: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Inputs of requests that are answered together; 1: each request on its own."""
    body_bytes: Annotated[int, Field(ge=64, le=1 << 30)] = 1 << 20
    """Most bytes of a request."""
    inputs: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Most inputs of a request."""
    input_length: Annotated[int, Field(ge=1, le=100_000_000)] = 100_000
    """Most characters of an input, or numbers of a series."""
    generated: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Largest generation.max_length of a request."""
    beams: Annotated[int, Field(ge=1, le=1000)] = 16
    """Largest generation.beam_size and generation.n_best of a request."""
    queue: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Most requests that wait for a model or are answered by it; further ones are refused."""
    timeout: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """Seconds for a request to arrive, and seconds for its answer."""
    idle: Annotated[float, Field(gt=0, le=86_400)] = 10.0
    """Seconds after which a connection without a request is closed."""
    connections: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Most open connections; beyond, the one that is idle for longest is closed."""


class Settings(BaseModel):
    """All settings of `python -m zoo.run`. The dict sections hold what was given, no defaults.

    Their classes check them where they are used: the task's `config_class`, BackboneConfig,
    GenerationConfig and EvaluationConfig; of `data` the function of the corpus.
    """

    model_config = FORBID | ConfigDict(use_attribute_docstrings=True)

    mode: Literal["train", "evaluate", "predict", "chat", "explain", "serve"] = "train"
    """What is done."""
    task: dict[str, Any]
    """The task's name, and the given options of its class."""
    data: dict[str, Any]
    """The corpus's name, and its arguments."""
    backbone: dict[str, Any] = {}
    """The given options of BackboneConfig."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """How text becomes ids."""
    train: TrainConfig = TrainConfig()
    """How a model is trained."""
    generation: dict[str, Any] = {}
    """The given options of GenerationConfig."""
    evaluate: dict[str, Any] = {}
    """The given options of EvaluationConfig."""
    serve: ServeConfig = ServeConfig()
    """How models are served."""
    out: Name | None = None
    """Folder of the run, new or empty; null: the next free one of runs/TASK-DATA, -2, …"""
    overwrite: bool = False
    """Pictures and reports of the zoo in `out` may be replaced; a run and other files never are."""
    model: Name | None = None
    """Model folder, or name of a shipped model, for every mode but train; serve: NAME,NAME,…"""
    init: Name | None = None
    """Model that a training starts from: backbone, tokenizer, and of the same task its head."""
    directions: Literal["kept", "forward", "both"] = "kept"
    """Directions in which the backbone of init=… reads."""
    resume: Name | None = None
    """Folder of a run to continue: interrupted, or finished with more `train.epochs`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    """Seed of all random numbers."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model computes; auto: on a GPU that CUDA finds."""
    deterministic: bool = False
    """Allow only algorithms that repeat bit by bit, on CUDA too."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the computation."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processor threads; 0: as torch chooses."""
    baseline: bool = True
    """Also train the baseline without a neural network."""
    from_data: bool = True
    """Choose what is not given by the training rows, of one's own data (zoo/training/defaults.py)."""
    tune: NotNegative = 0.0
    """Seconds in which settings are tried on the validation rows before the training; 0: none."""
    folds: Annotated[int, Field(ge=0)] = 0
    """Cross-validation in so many stratified folds, in place of a training; 0: none."""
    strict: bool = False
    """A row that would be skipped is an error."""
    text: str | None = None
    """One text that is answered."""
    target: str | None = None
    """What mode=explain explains: another label, a word's or step's number from 0, another text."""
    input: Name = "-"
    """File whose rows are answered, or - for standard input."""
    output: Name = "-"
    """File for the answers, or - for standard output."""
    top: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Labels of a classifier's answer, the most probable ones."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Least probability of a classifier's label; below it the answer is `unsure`, or has no label."""
    tokens: Literal["words", "whitespace"] = "words"
    """How a tagger splits plain text into words."""
    format: Literal["label", "json", "conll", "colour"] = "label"
    """Form of the answers; label: as the name of output or input says. conll, colour: a tagger's."""

    _given: frozenset[str] | None = PrivateAttr(default=None)
    _typed: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def given(self) -> frozenset[str] | None:
        """The names that the command line or a corpus's recipe gives; None if that is not known."""
        return self._given

    @property
    def typed(self) -> frozenset[str]:
        """The names that the command line gives."""
        return self._typed


SECTIONS = ("task", "data", "backbone", "tokenizer", "train", "generation", "evaluate", "serve")
OF_ANSWERS = ("input", "output", "top", "threshold", "format")  # settings of mode=predict alone

OWN_FILES = "files", "series", "sequences"  # corpora that read a user's own files, named first
SERVING = ("fastapi", "uvicorn", "prometheus_client")  # packages of mode=serve, and its settings
SERVED = {"mode", "model", "device", "precision", "threads", "tokens", "serve"}


def find_configs() -> Path:
    """The folder `configs`: in the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "config.yaml").is_file():
            return folder
    raise InputError(f"no folder configs in {package} or beside it: reinstall sequence-zoo")


def add_task(name: str) -> None:
    """Make `task=NAME` known that has no file in `configs/task`: a task from outside."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(f"{name}.yaml", {"name": name}, group="task")


class Composed(dict[str, Any]):
    """Composed settings that know which of them the command line or a corpus's recipe gives."""

    given: frozenset[str] = frozenset()
    typed: frozenset[str] = frozenset()  # those of the command line alone


def compose(overrides: Sequence[str]) -> Composed:
    """Compose the settings of a command line, `["task=classify", "train.epochs=3"]`, as plain values.

    They are those that a file or the command line gives; defaults are added by `check` and by the
    option classes. With `model=` the generation config is the model's: recipes give none.
    Raises InputError for settings that are missing or unknown.
    """
    composed = Composed(_compose(overrides))
    composed.typed = frozenset(_on_command_line(overrides, composed))
    composed.given = composed.typed | _in_recipe_of_corpus(composed)
    if composed.get("model") is not None:
        given = _given_generation(overrides)
        values = composed.get("generation") or {}
        composed["generation"] = {name: values[name] for name in values if name in given}
    return composed


def _in_recipe_of_corpus(composed: dict[str, Any]) -> set[str]:
    """The names of the settings that the recipe of the corpus gives."""
    from omegaconf import OmegaConf

    task, data = composed["task"]["name"], composed["data"]["name"]
    recipe = find_configs() / "recipe" / task / f"{data}.yaml"
    if not recipe.is_file():
        return set()
    values = OmegaConf.to_container(OmegaConf.load(recipe))
    return {*flat(typing.cast(dict[str, Any], values))}


def _on_command_line(overrides: Sequence[str], composed: dict[str, Any]) -> list[str]:
    """The names of the composed settings that the command line gives."""
    given = [
        {"task": "task.name", "data": "data.name"}.get(key, key) for key in map(_key, overrides)
    ]
    return [
        key
        for key in flat(composed)
        if any(key == name or key.startswith(f"{name}.") for name in given)
    ]


def _given_generation(overrides: Sequence[str]) -> set[str]:
    """The options in `generation.beam_size=3` and in `generation={beam_size: 3}`."""
    from omegaconf import OmegaConf

    given: set[str] = set()
    for text in overrides:
        section, _, name = _key(text).partition(".")
        if section == "generation" and name:
            given.add(name)
        elif section == "generation":
            given |= {*map(str, OmegaConf.create(text.partition("=")[2]))}
    return given


def _compose(overrides: Sequence[str]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with _own_hydra(), initialize_config_dir(str(find_configs()), version_base="1.3"):
            composed = hydra_compose("config", [_added(text) for text in overrides])
        for key in sorted(OmegaConf.missing_keys(composed)):
            raise InputError(_("{place} is missing: add {place}=…", place=key))
        return typing.cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    except MissingConfigException as error:
        group, _slash, choice = str(error.missing_cfg_file).partition("/")
        known = ", ".join(error.options or ())
        cure = did_you_mean(choice, error.options or ())
        if group == "task" and not choice.endswith(".py"):
            cure += _("; one of your own: task=FILE.py, or zoo.register(MyTask)")
        raise InputError(
            _(
                "{group}={choice}: no such {group}; there are: {known}{cure}",
                group=group,
                choice=choice,
                known=known,
                cure=cure,
            )
        ) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_explained(error, overrides)) from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(_unreadable(overrides, error)) from None


def _unreadable(overrides: Sequence[str], error: ValueError) -> str:
    """Return what is said of a number that Python does not read: it has too many digits."""
    runs = {text: max(map(len, re.findall(r"[\d_]+", text)), default=0) for text in overrides}
    longest = max(runs, key=lambda text: runs[text], default="")
    return f"{_key(longest)}: {str(error).partition(';')[0]}"


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Compose settings with global objects of Hydra that are ours, in one thread at a time.

    Those of a program that uses Hydra itself stay untouched; both know the same plugins and stored
    configs.
    """
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.singleton import Singleton
    from hydra.version import VersionBase

    own = {GlobalHydra, HydraConfig, VersionBase}  # the others are plugins, sources, stored configs
    with _composing:
        kept = Singleton._instances
        Singleton._instances = {kind: one for kind, one in kept.items() if kind not in own}
        try:
            yield
        finally:
            made = Singleton._instances
            kept.update({kind: one for kind, one in made.items() if kind not in own})
            Singleton._instances = kept


def _key(override: str) -> str:
    """The name of the setting that an override sets."""
    return override.partition("=")[0].lstrip("+~")


def _added(override: str) -> str:
    """An override as Hydra reads it: quoted, and allowed to name a setting that no file names.

    The option classes know the settings, not Hydra; only those of a corpus are in its file.
    """
    key, equals, _ = override.partition("=")
    in_files = key in ("task", "data") or key.startswith("data.")
    prefix = "" if not equals or in_files or key.startswith(("+", "~", "hydra.")) else "++"
    return prefix + _quoted(override)


def values_of(override: str) -> list[str]:
    """The overrides that `train.epochs=1,2` stands for, one for each value, in Hydra's syntax.

    Texts and paths are one value, whatever is in them. So is what Hydra cannot read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, _, _ = override.partition("=")
    try:
        parsed = OverridesParser.create().parse_override(_quoted(override))
    except (HydraException, ValueError):  # the run says what is wrong
        return [override]
    if not parsed.is_sweep_override():
        return [override]
    return [f"{key}={value}" for value in parsed.sweep_string_iterator()]


def recipes(overrides: Sequence[str]) -> list[str]:
    """The recipes that a command line takes, in order: `["generate/default", "generate/pydoc"]`.

    Each is a file in `configs/recipe`; a later one overrides an earlier one.
    """
    composed = _compose(overrides)
    return _recipes(composed["task"]["name"], composed["data"]["name"])


def _recipes(task: str, data: str) -> list[str]:
    folder = find_configs() / "recipe"
    names = [f"{task}/default", f"{task}/{data}"]
    return [name for name in names if (folder / f"{name}.yaml").is_file()]


def sources(overrides: Sequence[str]) -> dict[str, str]:
    """Where each given setting comes from: `{"train.epochs": "recipe classify/imdb"}`.

    The others are defaults. Raises InputError as `compose` does.
    """
    from omegaconf import OmegaConf

    composed = _compose(overrides)
    task, data = composed["task"]["name"], composed["data"]["name"]
    files = [(f"data/{data}", f"configs/data/{data}.yaml")]
    files += [(f"task/{task}", f"configs/task/{task}.yaml")]
    files += [(f"recipe/{name}", f"recipe {name}") for name in _recipes(task, data)]
    found: dict[str, str] = {}
    for name, shown in files:
        group, _, _ = name.partition("/")
        path = find_configs() / f"{name}.yaml"
        if not path.is_file():  # a task from outside
            found |= {"task.name": "command line"}
            continue
        values = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(values, dict)
        values.pop("defaults", None)
        prefix = "" if group == "recipe" else f"{group}."
        found |= {prefix + key: shown for key in flat(typing.cast(dict[str, Any], values))}
    found |= dict.fromkeys(_on_command_line(overrides, composed), "command line")
    return {key: found[key] for key in flat(composed) if key in found}


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
    checked = validated(Settings, settings, "", names())
    if isinstance(settings, Composed):
        checked._given, checked._typed = settings.given, settings.typed
    return checked


def typed(arguments: Sequence[str]) -> list[str]:
    """Return the names of the settings that a command line gives, sections as one."""
    own = {"task": "task.name", "data": "data.name"}
    keys = [_key(text) for text in arguments if not re.fullmatch(r"task=.*\.py", text)]
    return [own.get(key, key) for key in keys if key not in ("resume", "mode")]


def check_together(settings: Settings, arguments: Sequence[str]) -> None:
    """Check settings that are valid alone, but not together. Raises InputError."""
    if settings.resume is not None and settings.folds:
        raise InputError(_("resume=DIR goes on with one training: leave folds out"))
    if settings.folds == 1:
        raise InputError(
            _("folds=1: a fold is scored by a model of the others: two or more are needed")
        )
    if settings.tune and settings.folds:
        raise InputError(
            _("tune=… folds=…: tune first, then add folds to the settings that it prints")
        )
    compares = "tune" if settings.tune else "folds" if settings.folds else None
    if compares is not None and settings.mode != "train":
        raise InputError(
            _(
                "{compares}=… trains: mode={mode} takes no {compares}",
                compares=compares,
                mode=settings.mode,
            )
        )
    if settings.mode in ("evaluate", "predict", "chat", "serve") and settings.model is None:
        raise InputError(
            _("mode={mode} needs model=DIR, a folder that a training wrote", mode=settings.mode)
        )
    if settings.mode == "train" and settings.model is not None:
        raise InputError(
            _(
                "model={model}: a training makes one; it starts from another with init={model}",
                model=settings.model,
            )
        )
    brought = ("backbone=", *(f"backbone.{name}=" for name in SHAPE), "tokenizer")
    if settings.init is not None and any(a.startswith(brought) for a in arguments):
        raise InputError(_("init=… brings its backbone and tokenizer: leave their settings out"))
    if settings.init is None and settings.directions != "kept":
        raise InputError(
            _(
                "directions=… is about the backbone of init=…; without it there is "
                "backbone.bidirectional"
            )
        )
    if settings.train.tensorboard and find_spec("tensorboard") is None:
        raise InputError(
            _("train.tensorboard=true needs the package tensorboard: pip install tensorboard")
        )
    if settings.mode == "serve":
        _check_serve(settings)
    elif any(name.startswith("serve.") for name in settings.typed):
        raise InputError(
            _("serve.…, host=…, port=…: mode={mode} serves nothing", mode=settings.mode)
        )
    if settings.overwrite and settings.mode in ("train", "chat"):
        raise InputError(
            _(
                "overwrite=true is for pictures and reports, not for mode={mode}: a run is never "
                "written over",
                mode=settings.mode,
            )
        )
    if settings.text is not None and settings.mode not in ("predict", "explain"):
        raise InputError(
            _("text=… is for mode=predict and mode=explain, not mode={mode}", mode=settings.mode)
        )
    given = {argument.partition("=")[0] for argument in arguments}
    if settings.mode == "predict" and settings.text is not None and "input" in given:
        raise InputError(_("text=… and input=…: one of them is answered: leave the other out"))
    unused = [name for name in OF_ANSWERS if name in given and settings.mode != "predict"]
    if unused:
        raise InputError(
            _(
                "{name}=… is for mode=predict, not mode={mode}: leave it out",
                name=unused[0],
                mode=settings.mode,
            )
        )
    if settings.target is not None and (settings.mode != "explain" or settings.text is None):
        raise InputError(_("target=… is for mode=explain with text=…"))


def _check_serve(settings: Settings) -> None:
    """Raise InputError for packages that mode=serve lacks, and for settings it does not have."""
    missing = [name for name in SERVING if find_spec(name) is None]
    if missing:
        raise InputError(
            _(
                "mode=serve needs the package {name}: pip install 'sequence-zoo[serve]'",
                name=missing[0],
            )
        )
    for name in sorted(settings.typed):
        if name.partition(".")[0] not in SERVED:
            generates = name.startswith("generation")
            cure = _("a request says how it is answered, ") if generates else ""
            raise InputError(
                _("{name}=…: {cure}mode=serve does not use it: leave it out", name=name, cure=cure)
            )


def _explained(error: Exception, overrides: Sequence[str]) -> str:
    """Hydra's message in one line; for a misspelt setting, the most similar one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wrong = re.match(r"Could not override '([^']*)'|Key '([^']*)' is not in struct", lines[0])
    if wrong is None:
        return " ".join(lines)
    name = wrong[1] or wrong[2]
    chosen = [text.partition("=")[2] for text in overrides if text.startswith("data=")]
    having = [corpus for corpus in corpora() if name in corpus_settings(corpus)]
    if not chosen and having:
        first = next((corpus for corpus in OWN_FILES if corpus in having), having[0])
        others = ", ".join(f"data={corpus}" for corpus in having if corpus != first)
        return f"{name}: add data={first}{f'; {others} have such a setting too' if others else ''}"
    return unknown(name, corpus_settings(chosen[-1] if chosen else "cldr"))


def corpora() -> list[str]:
    """The names of the corpora, as `data=NAME` takes them."""
    return sorted(path.stem for path in (find_configs() / "data").glob("*.yaml"))


def corpus_settings(corpus: str) -> list[str]:
    """The settings of a corpus, as on the command line."""
    from omegaconf import OmegaConf

    values = OmegaConf.load(find_configs() / "data" / f"{corpus}.yaml")
    return [f"data.{name!s}" for name in values if name != "name"]


def names() -> list[str]:
    """The names of the settings that this file knows, as on the command line."""
    found = [*Settings.model_fields]
    for owner in (TokenizerConfig, TrainConfig, ServeConfig):
        found += [f"{owner.section}.{name}" for name in option_names(owner)]
    return found
