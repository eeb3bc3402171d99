"""The options of a run's parts: its settings, checked by the class of each part."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zoo.config import Settings
from zoo.errors import InputError
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.messages import _
from zoo.nn.backbone import BackboneConfig
from zoo.registry import find
from zoo.task import Generative, Task, TaskConfig

INPUT_SIZES = "vocabulary_size", "input_size"  # of the backbone; they follow from the data
BATCHES = "batch_tokens", "batch_rows", "columns", "window"  # of an evaluation of any task
WORDS = "words"  # the default of `tokens`


@dataclass(frozen=True)
class Options:
    """The class of a task and the options from which a run builds it."""

    kind: type[Task]
    task: TaskConfig
    backbone: BackboneConfig
    evaluation: EvaluationConfig


def options_of(settings: Settings) -> Options:
    """Check the settings of a run's parts. Raises InputError that names the first wrong one."""
    given = dict(settings.task)
    kind = find(str(given.pop("name", "")))
    for name in INPUT_SIZES:
        if settings.backbone.get(name) is not None:
            raise InputError(
                _("backbone.{name}: it follows from the data: leave it out", name=name)
            )
    generation = generation_of(settings, kind)
    if generation is not None:
        given["generation"] = generation
    config = kind.config_class(**given)
    backbone = BackboneConfig(**settings.backbone)
    return Options(kind, config, backbone, evaluation_of(settings, kind))


def generation_of(settings: Settings, kind: type[Task]) -> GenerationConfig | None:
    """Return how a run generates; None for a task that does not. Raises InputError."""
    config = GenerationConfig(**settings.generation)
    if not issubclass(kind, Generative):
        if config != GenerationConfig():
            name = kind.task_name
            raise InputError(
                _("generation.…: {task} does not generate its answers: leave it out", task=name)
            )
        return None
    training = settings.mode == "train"  # a training's seed is not saved with the model
    if config.sample and config.seed is None and not training:
        return replace(config, seed=settings.seed)
    return config


def evaluation_of(settings: Settings, kind: type[Task]) -> EvaluationConfig:
    """Return how a run evaluates. Raises InputError for what the task does not have."""
    config = EvaluationConfig(**settings.evaluate)
    plain = EvaluationConfig(**{name: getattr(config, name) for name in (*BATCHES, "origins")})
    if config.origins is not None and "future" not in kind.target_columns:
        raise InputError(
            _("evaluate.origins=…: {task} forecasts nothing: leave it out", task=kind.task_name)
        )
    if config != plain and getattr(kind, "metric", None) != "perplexity":
        raise InputError(
            _("evaluate.…: {task} has no perplexity: leave it out", task=kind.task_name)
        )
    if settings.tokens != WORDS and "words" not in kind.input_columns:
        raise InputError(
            _("tokens=…: {task} reads texts, not words: leave it out", task=kind.task_name)
        )
    return config
